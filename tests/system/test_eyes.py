"""`status`, `explain` and `rejected` as people and programs use them: beside a running daemon, and without one."""

import hashlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.cli import execute
from staticwado_daemon.cli import staticwado as cli
from tests import corpus
from tests.system.programs import PATIENCE, REPOSITORY, STATICWADO, Daemon, running, staticwado, write_config

NO_UID = "pydicom/test_files/UN_sequence.dcm"
"""A data set without a Study Instance UID."""


@dataclass(frozen=True, slots=True)
class Site:
    """A tree with two series, one instance in two versions, and files that could not be stored."""

    directory: Path
    study: corpus.Study

    @property
    def config(self) -> Path:
        return self.directory / "static-wado.json5"

    @property
    def inbound(self) -> Path:
        return self.directory / "inbound"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def explain(self, what: str | Path) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.told("explain", what, "--json"))
        return told

    def told(self, *words: str | Path, expect: int = 0) -> str:
        return _run("-c", self.config, *words, expect=expect)


def _run(*words: str | Path, expect: int = 0) -> str:
    """What a command prints that only reads or asks: without a process of its own, because there are many."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert execute(cli, "staticwado", [*map(str, words)]) == expect, printed.getvalue()
    return printed.getvalue()


def _site(directory: Path) -> Site:
    study = corpus.ct_study(directory / "inbound/ct", instances=6, series=2, size=64)
    _change(study.files[0], directory / "inbound/newer.dcm", "second")
    shutil.copy(study.files[1], directory / "inbound/copy.dcm")
    files = corpus.test_files()
    shutil.copy(files[NO_UID], directory / "inbound/bad.dcm")
    shutil.copy(files["pydicom/test_files/README.txt"], directory / "inbound/README.txt")
    (directory / "drop").mkdir()
    shutil.copy(files[NO_UID], directory / "drop/handed-over.dcm")
    daemon = {
        "inbound": [{"dir": str(directory / "inbound")}],
        "dropDir": str(directory / "drop"),
        "incompleteSeconds": 60,
    }
    write_config(directory, {"rootDir": str(directory / "root")}, daemon)
    return Site(directory, study)


def _change(source: Path, target: Path, comment: str) -> None:
    """Write another content of the same instance."""
    image = pydicom.dcmread(source)
    image.ImageComments = comment
    image.save_as(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """After a daemon has done its work and ended. Tests change nothing of it."""
    made = _site(tmp_path_factory.mktemp("eyes"))
    with running(made.config) as daemon:
        daemon.until(
            lambda: daemon.status()["idle"] and sum(daemon.status()["receipts"].values()) == 11, "all receipts"
        )
    return made


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Site, Daemon]]:
    """While a daemon runs that has done its work."""
    made = _site(tmp_path)
    with running(made.config) as daemon:
        daemon.until(
            lambda: daemon.status()["idle"] and sum(daemon.status()["receipts"].values()) == 11, "all receipts"
        )
        yield made, daemon


# What became of a file


def test_a_stored_file_is_followed_to_its_bytes(site: Site) -> None:
    path = site.study.files[1]
    told = site.explain(path)
    assert (told["kind"], told["path"], told["now"]) == ("file", str(path), "unchanged")
    receipt, instance = told["receipts"][0], told["instance"]
    assert receipt["outcome"] in {"published", "duplicate"}
    assert receipt["source"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["sameContent"] == [str(site.inbound / "copy.dcm")]
    (version,) = instance["versions"]
    assert version["published"]
    assert version["source"] == receipt["source"]
    for stored in version["files"]:
        assert stored["there"]
        assert (site.root / stored["path"]).stat().st_size == stored["bytes"]
    assert any("/frames/" in stored["path"] for stored in version["files"])
    for name in ("record", "remainder"):
        assert (site.root / version[name]).is_file()
    printed = site.told("explain", path)
    assert f"\n  in         {version['directory']}\n" in printed
    assert "\n  came as    Explicit VR Little Endian\n" in printed
    assert "Test^" not in printed + json.dumps(told), "nobody's name"


def test_versions_of_one_instance_are_told_with_their_sources(site: Site) -> None:
    first, second = str(site.study.files[0]), str(site.inbound / "newer.dcm")
    uid = str(pydicom.dcmread(first).SOPInstanceUID)
    (told,) = site.explain(uid)["found"]
    shown, kept = told["versions"]
    assert [(each["revision"], each["published"]) for each in (shown, kept)] == [(2, True), (1, False)]
    assert {each["received"][0]["path"] for each in (shown, kept)} == {first, second}
    assert {each["received"][0]["outcome"] for each in (shown, kept)} == {"published", "superseded"}
    assert shown["directory"].startswith("studies/")
    assert kept["directory"].startswith(layout.KEPT)
    for version in (shown, kept):
        assert all(each["there"] for each in version["files"])
    loser = kept["received"][0]["path"]
    printed = site.told("explain", loser)
    assert "\n  superseded " in printed
    assert "\n  version    revision 1 of 2: kept, not shown\n" in printed
    assert site.told("explain", uid).count("\n  version    revision ") == 2


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [("bad.dcm", "rejected", "no Study Instance UID (0020,000D)"), ("README.txt", "ignored", "not a DICOM file")],
)
def test_a_file_that_was_not_stored_has_its_reason(site: Site, name: str, outcome: str, reason: str) -> None:
    told = site.explain(site.inbound / name)
    assert (told["receipts"][0]["outcome"], told["receipts"][0]["reason"]) == (outcome, reason)
    assert (told["now"], told["instance"]) == ("unchanged", None)
    assert f"\n  because    {reason}\n" in site.told("explain", site.inbound / name)


def test_what_was_set_aside_is_found_under_both_its_names(site: Site) -> None:
    aside = site.directory / "drop/rejected/handed-over.dcm"
    for name in (aside, site.directory / "drop/handed-over.dcm"):
        told = site.explain(name)
        assert told["path"] == str(site.directory / "drop/handed-over.dcm")
        assert (told["setAside"], told["receipts"][0]["outcome"]) == (str(aside), "rejected")
    assert f"was set aside, as {aside}" in site.told("explain", aside)


def test_a_file_without_a_receipt_is_told_why(site: Site, tmp_path: Path) -> None:
    litter = site.inbound / ".hidden.dcm"
    waits, fifo = site.inbound / "new.dcm", site.inbound / "fifo"
    outside = tmp_path / "outside.dcm"
    try:
        for path in (litter, waits, outside):
            path.touch()
        os.mkfifo(fifo)
        notes = {path: site.explain(path)["note"] for path in (litter, waits, outside, fifo, site.inbound)}
    finally:
        for path in (litter, waits, fifo):
            path.unlink()
    assert notes[litter] == (
        "it is passed over because of its name: .hidden.dcm is a hidden or temporary name; `staticwado create` takes it"
    )
    assert notes[waits] == notes[fifo] == "it has not been taken, because no daemon is running"
    assert notes[outside].startswith("it lies in none of the inbound folders")
    assert notes[site.inbound] == "it is a folder: name a file in it"
    tree = next(site.root.rglob("*.mht"))
    assert site.explain(tree)["note"] == "it is a file of the tree itself"
    site.told("explain", site.inbound / "nothing", expect=1)


# What a UID stands for


def test_a_study_is_told_with_what_it_takes(site: Site) -> None:
    (told,) = site.explain(site.study.uid)["found"]
    assert (told["kind"], told["study"], told["instances"], told["dirty"]) == ("study", site.study.uid, 6, False)
    assert [each["number"] for each in told["series"]] == [1, 2]
    assert [each["instances"] for each in told["series"]] == [3, 3]
    assert {each["modality"] for each in told["series"]} == {"CT"}
    assert told["series"][0]["description"] == "CT series 1"
    (conflict,) = [conflict for each in told["series"] for conflict in each["conflicts"]]
    assert (conflict["instance"], conflict["versions"]) == (corpus.uid("ct", 1, 1), 2)
    for usage, directory in (("published", "studies"), ("restore", "restore"), ("kept", layout.KEPT)):
        files = [path for path in (site.root / directory / site.study.uid).rglob("*") if path.is_file()]
        assert told[usage] == {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
        assert files
    printed = site.told("explain", site.study.uid)
    assert "\n  holds      6 instances in 2 series\n" in printed
    assert f"\n  conflicts  {corpus.uid('ct', 1, 1)}: 2 versions\n" in printed


def test_the_beginning_of_a_uid_is_enough_if_it_is_the_only_one(site: Site) -> None:
    series = corpus.uid("ct", 2)
    for text, kind in ((site.study.uid[:20], "study"), (series, "series"), (series[:20], "series")):
        assert [each["kind"] for each in site.explain(text)["found"]] == [kind]
    for text in ("9.9.9", f"{site.study.uid}.1", "1.2."):
        site.told("explain", text, expect=1)


def test_a_series_or_instance_is_found_without_the_journal(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.root, copy)
    for uid, kind in ((corpus.uid("ct", 2), "series"), (corpus.uid("ct", 1, 2), "instance")):
        told = json.loads(_run("explain", uid, "--root", copy, "--json"))
        assert [each["kind"] for each in told["found"]] == [kind]
    assert "from a file that the journal no longer knows" in _run("explain", uid, "--root", copy)


def test_what_is_missing_or_damaged_is_told(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.root, copy)
    uid = corpus.uid("ct", 1, 2)
    (frame,) = copy.glob(f"studies/*/series/*/instances/{uid}/frames/1.mht")
    frame.unlink()
    shutil.rmtree(copy / "restore" / site.study.uid)
    (copy / "deduplicated" / site.study.uid / "damaged.gz").write_bytes(b"no gzip")
    printed = _run("explain", uid, "--root", copy)
    assert f"\n  MISSING    {frame.relative_to(copy)}\n" in printed
    assert "\n  remainder  is missing: no original without it\n" in printed
    assert f"\n  UNREADABLE deduplicated/{site.study.uid}/damaged.gz: " in printed
    told = json.loads(_run("explain", uid, "--root", copy, "--json"))  # nothing but the object
    assert len(told["found"][0]["unreadable"]) == 1


# What was rejected


def test_rejected_files_are_listed_with_where_they_are(site: Site) -> None:
    told = json.loads(site.told("rejected", "list", "--json"))
    assert told["total"] == 2
    places = {each["path"]: (each["place"], each["setAside"]) for each in told["rejected"]}
    aside = str(site.directory / "drop/rejected/handed-over.dcm")
    assert places == {
        str(site.inbound / "bad.dcm"): ("there", None),
        str(site.directory / "drop/handed-over.dcm"): ("set aside", aside),
    }
    printed = site.told("rejected", "list")
    assert f"drop/handed-over.dcm, now {aside}\n" in printed
    assert printed.count("no Study Instance UID (0020,000D)\n") == 2
    assert site.told("rejected", "list", "--limit", "1").endswith("\n… and 1 older ones: see --limit\n")
    assert site.told("rejected", "list", "--reason", "STUDY instance").count("\n") == 4
    assert site.told("rejected", "list", "--reason", "nothing") == "nothing was rejected because of nothing\n"


@pytest.mark.parametrize("words", [[], ["--all", "--reason", "x"], ["x.dcm", "--all"]])
def test_what_is_to_be_tried_again_must_be_said(site: Site, words: list[str]) -> None:
    site.told("rejected", "retry", *words, expect=2)


def test_only_what_was_not_stored_is_tried_again(site: Site, tmp_path: Path) -> None:
    site.told("rejected", "retry", site.study.files[1], expect=1)
    (tmp_path / "never.dcm").touch()
    site.told("rejected", "retry", tmp_path / "never.dcm", expect=1)
    assert site.told("rejected", "retry", "--reason", "no such reason") == "there is nothing to try again\n"


def test_a_running_daemon_tries_again_and_answers_for_each_file(live: tuple[Site, Daemon]) -> None:
    site, daemon = live
    aside = site.directory / "drop/rejected/handed-over.dcm"
    answer = json.loads(site.told("rejected", "retry", "--all", "--json", expect=3))
    assert answer["rejected"] == len(answer["receipts"]) == 2
    daemon.wait_until_idle()
    assert aside.exists(), "it went back, was rejected again and set aside again"
    assert daemon.status()["rejected"] == 2
    # What is mended meanwhile is stored: one by its name, the other by the one that it has where it was set aside.
    shutil.copy(corpus.test_files()["pydicom/test_files/MR_small.dcm"], site.inbound / "bad.dcm")
    daemon.until(lambda: daemon.status()["rejected"] == 1, "the mended file, which needs no asking")
    answer = json.loads(site.told("rejected", "retry", aside, "--json", expect=3))
    assert [(each["path"], each["outcome"]) for each in answer["receipts"]] == [
        (str(site.directory / "drop/handed-over.dcm"), "rejected")
    ]
    daemon.wait_until_idle()
    assert (daemon.status()["rejected"], daemon.status()["published"]) == (1, 9)


def test_a_file_that_still_ends_too_early_is_answered_for_as_waiting(live: tuple[Site, Daemon]) -> None:
    site, daemon = live
    cut = site.inbound / "cut.dcm"
    part = cut.with_suffix(".part")
    part.write_bytes(site.study.files[1].read_bytes()[:-100])
    staticwado("-c", site.config, "create", part, expect=3)
    part.rename(cut)
    daemon.until(lambda: daemon.status()["waiting"] == 1, "the daemon to wait for the rest")
    told = json.loads(site.told("rejected", "list", "--json", "--reason", "end"))
    assert [each["place"] for each in told["rejected"]] == ["gone"], "it has another name now"
    assert "it ended too early" not in site.told("explain", cut)
    assert "ended too early and may go on" in site.told("explain", cut)


def test_without_a_daemon_the_command_does_it_itself(tmp_path: Path) -> None:
    site = _site(tmp_path)
    with running(site.config) as daemon:
        daemon.until(lambda: daemon.status()["idle"] and daemon.status()["rejected"] == 2, "both rejected")
    answer = json.loads(staticwado("-c", site.config, "rejected", "retry", "--reason", "no Study", "--json", expect=3))
    assert answer["rejected"] == 2
    assert (tmp_path / "drop/handed-over.dcm").exists(), "back, for the next daemon to deal with"
    with running(site.config) as daemon:
        daemon.until(lambda: not (tmp_path / "drop/handed-over.dcm").exists(), "the file's removal")
        daemon.wait_until_idle()
        assert daemon.status()["rejected"] == 2
    assert (tmp_path / "drop/rejected/handed-over.dcm").exists()


# Watching


def test_who_watches_on_a_terminal_sees_one_page_that_changes(live: tuple[Site, Daemon]) -> None:
    site, _ = live
    leader, follower = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "xterm-256color",
        "COLUMNS": "80",
        "LINES": "50",
    }
    process = subprocess.Popen(
        [*STATICWADO, "-c", str(site.config), "status", "--watch"], stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    os.set_blocking(leader, False)
    shown = b""
    deadline = time.monotonic() + PATIENCE
    while shown.count(b"last publish") < 3:
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)
        try:
            shown += os.read(leader, 65536)
        except BlockingIOError:
            continue
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    os.close(leader)
    assert b"OK" in shown
    assert b"\x1b[1A" in shown, "the page is written over the one before"
    assert b"Traceback" not in shown
