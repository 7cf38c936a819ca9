"""The examples of docs/operating.md are what the commands really print, but for times, sizes and the like."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests import corpus
from tests.system.programs import REPOSITORY, Daemon, running, told, write_config

PAGE = (REPOSITORY / "docs/operating.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^```console\n\$ staticwado ((?:status|explain|rejected)\b[^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
NO_UID = "pydicom/test_files/UN_sequence.dcm"
PARTLY = 3
ENOUGH = 10**15
"""Bytes that no disk has free."""

_CHANGING = (
    (r"\d{4}-\d\d-\d\d (?=\d\d:)", ""),
    (r"\d\d:\d\d:\d\d( \([^)]*\))?", "TIME"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\d[\d.,]*(?= (files a second|k?B|MB|GB|TB|s\b))", "N"),
    (r"(?<= )\d+(?= files?, N)", "N"),  # how many record files there are depends on batches
    (r"N files?, N", "N files, N"),
    (r"(instances|deduplicated)(?=/[0-9.]+/DIGEST)", "RECORDS"),  # alone or in a group: likewise
)


class Machine:
    """A daemon's folders, which the documentation calls by the names of a real machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = {
            # They sort as those of the documentation do.
            "/mnt/pacs": directory / "mnt-pacs",
            "/srv/dicom": directory / "srv-dicom",
            "/srv/drop": directory / "srv-drop",
            "/var/lib/staticwado": directory / "var-lib-staticwado",
        }
        for name in ("/srv/dicom", "/srv/drop", "/mnt/pacs"):
            self.names[name].mkdir()

    def configure(self, *folders: str, minimum: int = 0) -> Path:
        daemon = {
            "inbound": [{"dir": str(self.names[each])} for each in folders],
            "dropDir": str(self.names["/srv/drop"]),
        }
        static = {"rootDir": str(self.names["/var/lib/staticwado"]), "minFreeBytes": minimum}
        return write_config(self.directory, static, daemon)

    def run(self, config: Path, words: str) -> str:
        """What a command prints, with the names of the documentation."""
        for name, path in self.names.items():
            words = words.replace(name, str(path))
        text = told("-c", config, *words.split(), expect=PARTLY if " retry" in words else 0)
        for name, path in self.names.items():
            text = text.replace(str(path), name)
        return text

    def fill(self, daemon: Daemon) -> None:
        """Two studies, then a newer version of an image, a copy of another, and what can't be stored."""
        inbound, files = self.names["/srv/dicom"], corpus.test_files()
        study = corpus.ct_study(inbound / "ct", instances=24, series=2, size=128)
        corpus.mr_study(inbound / "mr", instances=6, series=1)
        daemon.until(lambda: (now := daemon.status())["idle"] and now["published"] == 30, "both studies")
        image = pydicom.dcmread(study.files[0])
        image.ImageComments = "corrected"
        image.save_as(inbound / "corrected.part")
        (inbound / "corrected.part").rename(inbound / "corrected.dcm")
        shutil.copy(study.files[2], inbound / "copy.dcm")
        shutil.copy(files["pydicom/test_files/README.txt"], inbound / "README.txt")
        shutil.copy(files[NO_UID], self.names["/srv/drop"] / "handed-over.dcm")
        daemon.until(lambda: sum(daemon.status()["receipts"].values()) == 34, "all receipts but one")
        shutil.copy(files[NO_UID], inbound / "no-uids.dcm")
        daemon.until(lambda: sum(daemon.status()["receipts"].values()) == 35, "all receipts")
        daemon.until(lambda: daemon.status()["state"] == "ok", "all is well")


def same(text: str) -> list[str]:
    """The lines of a text without what is another each time."""
    for pattern, replacement in _CHANGING:
        text = re.sub(pattern, replacement, text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def shown(machine: Machine) -> Iterator[tuple[str, str]]:
    """Each example's command with what it prints here, the degraded system's `status` last."""
    config = machine.configure("/srv/dicom")
    with running(config) as daemon:
        machine.fill(daemon)
        for words in dict.fromkeys(words for words, _ in EXAMPLES):
            yield words, machine.run(config, words)
    config = machine.configure("/srv/dicom", "/mnt/pacs", minimum=ENOUGH)
    with running(config) as daemon:
        daemon.until(lambda: daemon.status()["running"], "the daemon")
        machine.names["/mnt/pacs"].rmdir()
        daemon.until(lambda: len(daemon.status()["degraded"]) == 2, "both sentences")
        yield "status", machine.run(config, "status")


def test_examples_are_what_is_really_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HOME", "/nonexistent")
    documented: dict[str, list[str]] = {}
    for words, text in EXAMPLES:
        documented.setdefault(words, []).append(text)
    assert {words.split()[0] for words in documented} == {"status", "explain", "rejected"}
    assert len(documented["status"]) == 2, "a healthy system and a degraded one"
    for words, text in shown(Machine(tmp_path)):
        assert same(documented[words].pop(0)) == same(text), words
    assert not any(documented.values())


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("  last publish  20:03:11 (12 s ago)", "  last publish  2026-02-03 20:04:00 (just now)", True),
        ("  rate  0.0 files a second", "  rate  1,212.5 files a second", True),
        ("  instances  30 in 2 studies", "  instances  31 in 2 studies", False),
        ("  1 file, 12.3 kB of records", "  3 files, 123 kB of records", True),
    ],
)
def test_only_what_changes_each_time_may_differ(one: str, other: str, *, equal: bool) -> None:
    assert (same(one) == same(other)) is equal
