"""What is asked for of a tree that stands: by the running daemon, or at once where none runs."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.cli.hands import hands
from staticwado_daemon.config import load
from staticwado_daemon.dicom.uids import UID
from tests import corpus
from tests.crash.oracle import tree
from tests.system.programs import running, told, write_config


@pytest.fixture(scope="module", params=["daemon", "alone"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:
    """Each test leaves the tree as it has found it."""
    with Site(tmp_path_factory.mktemp("site")).served(alone=request.param == "alone") as found:
        yield found


class Site:
    """A tree with two small studies, and its commands."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        (directory / "in").mkdir()
        daemon = {"inbound": [{"dir": str(directory / "in")}]}
        static = {"rootDir": str(self.root), "minFreeBytes": 0, "minFreeInodes": 0}
        self.config = write_config(directory, static, daemon)
        self.study = corpus.ct_study(directory / "given", instances=3, series=2, size=32)
        self.create(*self.study.files)

    @contextmanager
    def served(self, *, alone: bool) -> Iterator["Site"]:
        if alone:
            yield self
            return
        with running(self.config) as daemon:
            daemon.until(lambda: daemon.status()["running"], "the daemon")
            yield self

    def create(self, *words: Any) -> dict[str, Any]:
        return json.loads(told("-c", self.config, "create", "--json", *words))

    def said(self, *words: str) -> dict[str, Any]:
        return json.loads(told("-c", self.config, *words, "--json"))

    def without(self, instances: Sequence[str]) -> Path:
        """A tree of the same files but those of these instances."""
        names = {each.rpartition("/")[2] for each in instances}
        left = [path for path in self.study.files if str(pydicom.dcmread(path).SOPInstanceUID) not in names]
        root = self.root.with_name("without")
        told("create", "--json", "--root", root, *left)
        return root

    def metadata(self) -> Path:
        (found,) = self.root.glob("studies/*/metadata.gz")
        return found


def test_known_files_are_taken_again_in_another_way(site: Site) -> None:
    frames = sorted(site.root.glob("studies/*/series/*/instances/*/frames/*"))
    assert site.create(*site.study.files)["duplicate"] == 3
    assert site.create("--force", *site.study.files)["duplicate"] == 3
    frames[0].unlink()
    assert site.create("--force", *site.study.files)["duplicate"] == 3
    assert sorted(site.root.glob("studies/*/series/*/instances/*/frames/*")) == frames


def test_derived_files_are_made_anew(site: Site) -> None:
    good = site.metadata().read_bytes()
    site.metadata().write_bytes(gzip.compress(b"[]"))
    thumbnail = site.metadata().with_name("thumbnail")
    thumbnail.unlink()
    storage = load(site.config).storage()
    with hands(storage, "warning") as by:
        by.renew([UID(site.metadata().parent.name)])
    assert site.metadata().read_bytes() == good
    assert thumbnail.exists()


def test_what_is_deleted_is_gone_stays_gone_and_comes_back(site: Site) -> None:
    before, kept_before = tree(site.root / "studies"), tree(site.root / ".staticwado/kept")
    series = str(min(site.root.glob("studies/*/series/*/")).relative_to(site.root))
    done = site.said("delete", "--yes", "--reason", "wrong patient", series)
    assert len(done["instances"]) in {1, 2}
    assert tree(site.root / "studies") == tree(site.without(done["instances"]) / "studies")
    again = site.create(*site.study.files)
    assert (again["ignored"], again["duplicate"]) == (len(done["instances"]), 3 - len(done["instances"]))
    (reason,) = {each["reason"] for each in again["receipts"] if each["outcome"] == "ignored"}
    assert reason.startswith("deleted on ")
    assert reason.endswith(": wrong patient")
    site.said("reject", "--yes", series.split("/series", maxsplit=1)[0])
    assert [path.name for path in (site.root / "studies").iterdir()] == ["index.json.gz"]
    site.said("undo", series.split("/series", maxsplit=1)[0])
    assert tree(site.root / "studies") == before
    assert tree(site.root / ".staticwado/kept") == kept_before
    log = site.said("audit")["entries"][-3:]
    assert [each["action"] for each in log] == ["delete", "reject", "undo"]
    assert log[0]["reason"] == "wrong patient"


def test_what_was_rejected_comes_back_by_force(site: Site) -> None:
    before = tree(site.root / "studies")
    site.said("reject", "--yes", site.metadata().parent.name)
    assert site.create(*site.study.files)["ignored"] == 3
    assert site.create("--force", *site.study.files)["published"] == 3
    assert tree(site.root / "studies") == before


def test_sources_go_once_they_are_stored(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.study.files[0].parent, tmp_path / "spool")
    odd = min((tmp_path / "spool").iterdir())
    odd.write_bytes(b"another preamble".ljust(128) + odd.read_bytes()[128:])
    digest = hashlib.sha256(odd.read_bytes()).hexdigest()
    broken = tmp_path / "spool/broken.dcm"
    broken.write_bytes(bytes(128) + b"DICM")
    told("-c", site.config, "create", "--delete-input", "--json", tmp_path / "spool", expect=3)
    assert [*(tmp_path / "spool").iterdir()] == [broken]
    (kept,) = site.root.glob(layout.original("*", digest))
    assert hashlib.sha256(gzip.decompress(kept.read_bytes())).hexdigest() == digest


def test_record_files_are_merged(site: Site) -> None:
    before = tree(site.root / "studies")
    said = site.said("group")
    assert (said["studies"], said["filesAfter"]) == ([site.metadata().parent.name], 2)
    assert site.said("group")["filesBefore"] == 2
    assert tree(site.root / "studies") == before
    assert site.said("verify", "--restore")["clean"]
