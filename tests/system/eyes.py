"""A tree to be looked at: two series, one instance in two versions, and files that could not be stored."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from tests import corpus
from tests.system.programs import Daemon, Place, running, told, write_config

NO_UID = "pydicom/test_files/UN_sequence.dcm"
"""A data set without a Study Instance UID."""

RECEIPTS = 11


@dataclass(frozen=True, slots=True)
class Site(Place):
    """The place, and the study that most of its files are of."""

    study: corpus.Study

    def explain(self, what: str | Path) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.told("explain", what, "--json"))
        return answer

    def told(self, *words: str | Path, expect: int = 0) -> str:
        return told("-c", self.config, *words, expect=expect)


def prepare(directory: Path) -> Site:
    """Deliver everything; no daemon has been there."""
    site = Site(directory, corpus.ct_study(directory / "inbound/ct", instances=6, series=2, size=64))
    _change(site.study.files[0], site.inbound / "newer.dcm", "second")
    shutil.copy(site.study.files[1], site.inbound / "copy.dcm")
    files = corpus.test_files()
    shutil.copy(files[NO_UID], site.inbound / "bad.dcm")
    shutil.copy(files["pydicom/test_files/README.txt"], site.inbound / "README.txt")
    (directory / "drop").mkdir()
    shutil.copy(files[NO_UID], directory / "drop/handed-over.dcm")
    daemon = {
        "inbound": [{"dir": str(site.inbound)}],
        "dropDir": str(directory / "drop"),
        "incompleteSeconds": 60,
    }
    write_config(directory, {"rootDir": str(site.root)}, daemon)
    return site


@contextmanager
def at_work(site: Site) -> Iterator[Daemon]:
    """A daemon that has done its work."""
    with running(site.config) as daemon:
        daemon.until(
            lambda: (now := daemon.status())["idle"] and sum(now["receipts"].values()) == RECEIPTS, "all receipts"
        )
        yield daemon


def _change(source: Path, target: Path, comment: str) -> None:
    """Write another content of the same instance."""
    image = pydicom.dcmread(source)
    image.ImageComments = comment
    image.save_as(target)
