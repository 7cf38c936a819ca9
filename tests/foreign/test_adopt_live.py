"""An adoption while somebody reads, one that is ended at any moment, and what comes after it."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.operate.adopt import root as adopting
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.studies import Studies
from tests import corpus
from tests.foreign import legacy, newer, parts
from tests.foreign.test_adopt import identity
from tests.system.programs import REPOSITORY, STATICWADO, create, staticwado
from tests.system.servers import Server, start_embedded

RULES = Rules(Images(), Limits())
NAMES = (
    "test_files/CT_small.dcm",
    "test_files/MR_small.dcm",
    "test_files/examples_ybr_color.dcm",
    "test_files/reportsi.dcm",
)


class Ended(BaseException):
    """The process has found its end, as far as a test can have that without one."""


class Mortal(Disk):
    """A disk after so many changes of which there is nobody any more."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def _step(self) -> None:
        if self.left == 0:
            raise Ended
        self.left -= 1

    def write(self, path: Path, parts: Sequence[bytes | memoryview]) -> None:  # type: ignore[override]
        self._step()
        super().write(path, parts)

    def mkdir(self, path: Path) -> None:
        self._step()
        super().mkdir(path)

    def rename(self, path: Path, target: Path) -> None:
        self._step()
        super().rename(path, target)

    def exchange(self, one: Path, other: Path) -> None:
        self._step()
        super().exchange(one, other)

    def unlink(self, path: Path) -> None:
        self._step()
        super().unlink(path)

    def remove_tree(self, path: Path) -> None:
        self._step()
        super().remove_tree(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = corpus.test_files()
    return [*corpus.distinct(tmp_path_factory.mktemp("in"), {n: found[f"pydicom/{n}"] for n in NAMES}).values()]


@pytest.fixture(scope="module", params=[legacy.Writer, newer.Writer])
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Path:
    writer = request.param(tmp_path_factory.mktemp("foreign") / "root")
    for path in files:
        writer.add(path)
    return writer.finish()


@pytest.fixture(scope="module")
def undisturbed(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    shutil.copytree(foreign, root)
    adopt(root)
    return served(root)


def adopt(root: Path, disk: Disk | None = None) -> None:
    found = adopting.candidates(root)
    assert not adopting.adopt(root, None, RULES, found, lambda: None, disk or Disk()).left


def served(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "studies").rglob("*") if path.is_file()}


def urls(files: list[Path], *, thumbnails: bool) -> Iterator[str]:
    """What a viewer asks for, all of which both trees have."""
    yield "/dicomweb/studies"
    for path in files:
        image = pydicom.dcmread(path, force=True)
        study = f"/dicomweb/studies/{image.StudyInstanceUID}"
        series = f"{study}/series/{image.SeriesInstanceUID}"
        instance = f"{series}/instances/{image.SOPInstanceUID}"
        yield from (f"{study}/series", f"{series}/metadata", f"{series}/instances")
        if "PixelData" in image:
            yield f"{instance}/frames/1"
            yield from (f"{each}/thumbnail" for each in (study, series, instance) if thumbnails)


@pytest.mark.parametrize("steps", [pytest.param(61, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)])
def test_ended_at_any_step_it_goes_on(
    foreign: Path, undisturbed: dict[str, bytes], files: list[Path], tmp_path: Path, steps: int
) -> None:
    with_thumbnails = any(name.endswith("thumbnail") for name in served(foreign))
    for step in itertools.count(1, steps):
        root = tmp_path / "root"
        shutil.copytree(foreign, root)
        try:
            adopt(root, Mortal(step))
        except Ended:
            with start_embedded(root) as server:
                assert {
                    url: server.ask(url).status for url in urls(files, thumbnails=with_thumbnails)
                } == dict.fromkeys(urls(files, thumbnails=with_thumbnails), 200), step
            if (root / layout.ADOPTING).exists():
                with pytest.raises(ConfigError, match="half adopted"):
                    Store(root)
            elif (root / layout.PRIVATE).exists():
                assert adopting.candidates(root) == []
        else:
            assert step > 60
            return
        adopt(root)
        assert served(root) == undisturbed, step
        assert adopting.candidates(root) == []
        shutil.rmtree(root)


@pytest.mark.parametrize("kills", [pytest.param(2, id="few"), pytest.param(40, id="many", marks=pytest.mark.soak)])
def test_killed_at_any_moment_it_goes_on(
    foreign: Path, undisturbed: dict[str, bytes], tmp_path: Path, kills: int
) -> None:
    chance = random.Random(kills)
    for number in range(kills):
        root = tmp_path / f"root{number}"
        shutil.copytree(foreign, root)
        command = [*STATICWADO, "adopt", str(root), "--yes"]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not (root / layout.PRIVATE).exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.3)
            os.kill(process.pid, signal.SIGKILL)
        assert lock_holder(root) is None
        adopt(root)
        assert served(root) == undisturbed


def test_studies_can_be_opened_all_the_time(foreign: Path, files: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(foreign, root)
    asked = [*urls(files, thumbnails=(next((root / "studies").rglob("thumbnail"), None) is not None))]
    failed: list[str] = []
    rounds = 0
    with start_embedded(root) as server:
        over = threading.Event()

        def read() -> None:
            nonlocal rounds
            while not over.is_set():
                failed.extend(url for url in asked if server.ask(url).status != 200)
                rounds += 1

        reader = threading.Thread(target=read)
        reader.start()
        try:
            while rounds == 0:
                time.sleep(0.01)
            adopt(root)
            seen = rounds
            while rounds < seen + 2:
                time.sleep(0.01)
        finally:
            over.set()
            reader.join()
        assert failed == []
        assert_frames(server, files)
    assert rounds >= 3


def assert_frames(server: Server, files: list[Path]) -> None:
    for path in files:
        image = parts.read(path)
        if "PixelData" in image:
            instance = identity(path)
            url = f"/dicomweb/{layout.instance_dir(instance)}/frames/1"
            answer = server.ask(url, {"Accept-Encoding": "identity"})
            assert parts.frames_of(image).payloads[0] in answer.body
            assert "boundary=BOUNDARY_f962cc71" in answer.headers["content-type"]


def test_the_original_that_comes_later_wins_and_is_restored(files: list[Path], tmp_path: Path) -> None:
    writer = legacy.Writer(tmp_path / "root")
    writer.add(files[0])
    root = writer.finish()
    adopt(root)
    assert create(root, files[:1])["published"] == 1
    versions = Studies(root, 1 << 20).get(identity(files[0]).study).versions(identity(files[0]))
    assert [each.revision for each in versions.visible] == [2, 1]
    assert [bool(each.source) for each in versions.visible] == [True, False]
    staticwado("export", identity(files[0]).instance, "-o", tmp_path / "out", "--root", root)
    (exported,) = (tmp_path / "out").iterdir()
    assert exported.read_bytes() == files[0].read_bytes()
