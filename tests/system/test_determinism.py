"""Publishing is a pure function of the set of instances: any order, any batches, by `create` or by `run`."""

import hashlib
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests import corpus
from tests.system.programs import Daemon, create, running, staticwado, write_config

INSTANCES = 300
BATCHES = {"create": ((0, 300), (0, 1, 300), (0, 40, 41, 170, 300)), "run": ((0, 300), (0, 5, 120, 300))}
"""Where 300 shuffled files are cut; with the three of `create` and the two of `run` there are five orders."""

PLANS = [
    pytest.param(way, cuts, seed, id=f"{way}-{len(cuts) - 1}-batches")
    for seed, (way, cuts) in enumerate((way, cuts) for way, plans in BATCHES.items() for cuts in plans)
]
ODD = (
    "pydicom/charset_files/chrH31.dcm",
    "pydicom/test_files/examples_overlay.dcm",
    "pydicom/test_files/examples_palette.dcm",
    "pydicom/test_files/image_dfl.dcm",
    "pydicom/test_files/liver_expb_1frame.dcm",
    "pydicom/test_files/reportsi.dcm",
    "pydicom/test_files/rtdose_rle.dcm",
    "pydicom/test_files/rtplan.dcm",
    "pydicom/test_files/waveform_ecg.dcm",
    "pydicom-data/OT-PAL-8-face.dcm",
    "pydicom-data/SC_rgb_expb_16bit_2frame.dcm",
    "pydicom-data/eCT_Supplemental.dcm",
    "pydicom-data/emri_small_jpeg_ls_lossless.dcm",
)
"""Character sets, bulk data, big endian, deflated, no preamble, structured documents: one instance of each."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The 300 sources and the tree that one plain `create` makes of them."""

    sources: tuple[Path, ...]
    root: Path
    tree: dict[str, str]


def _mixture(directory: Path) -> tuple[Path, ...]:
    """Small images of every kind, several series and studies."""
    studies = (
        corpus.ct_study(directory / "ct", instances=180, series=4, size=128),
        corpus.mr_study(directory / "mr", instances=95, series=3),
        corpus.htj2k_study(directory / "htj2k", instances=8),
        corpus.us_rgb_multiframe(directory / "us-rgb", frames=2),
        corpus.jpeg_study(directory / "us-jpeg"),
        corpus.jpeg2000_study(directory / "us-jpeg2000"),
        corpus.sc_rgb_multiframe(directory / "sc-rgb"),
    )
    odd = corpus.distinct(directory / "odd", {name: corpus.test_files()[name] for name in ODD})
    return (*(path for study in studies for path in study.files), *odd.values())


def _series(directory: Path) -> tuple[Path, ...]:
    """Full-size images."""
    return corpus.ct_study(directory, instances=INSTANCES).files


@pytest.fixture(
    scope="module",
    params=[pytest.param(_mixture, id="mixture"), pytest.param(_series, id="ct", marks=pytest.mark.soak)],
)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    directory = tmp_path_factory.mktemp("determinism")
    make: Callable[[Path], tuple[Path, ...]] = request.param
    sources = make(directory / "sources")
    assert len(sources) == INSTANCES
    assert create(directory / "root", sources)["published"] == INSTANCES
    return Reference(sources, directory / "root", _tree(directory / "root"))


@pytest.mark.parametrize(("way", "cuts", "seed"), PLANS)
def test_order_and_batches_leave_no_trace(
    reference: Reference, tmp_path: Path, way: str, cuts: Sequence[int], seed: int
) -> None:
    shuffled = random.Random(seed).sample(reference.sources, len(reference.sources))
    batches = [shuffled[start:end] for start, end in pairwise(cuts)]
    ways = {"create": _by_create, "run": _by_run}
    ways[way](tmp_path, batches)
    tree = _tree(tmp_path / "root")
    assert sorted(tree) == sorted(reference.tree)
    assert [path for path in tree if tree[path] != reference.tree[path]] == []


def test_the_same_again_touches_nothing(reference: Reference) -> None:
    before = _stamps(reference.root)
    again = create(reference.root, random.Random(99).sample(reference.sources, len(reference.sources)))
    assert again["duplicate"] == INSTANCES
    after = _stamps(reference.root)
    assert sorted(after) == sorted(before)
    assert [path for path in after if after[path] != before[path]] == []


def test_export_gives_back_every_byte(reference: Reference, tmp_path: Path) -> None:
    studies = sorted(path.name for path in (reference.root / "studies").iterdir() if path.is_dir())
    staticwado("export", *studies, "--root", reference.root, "-o", tmp_path)
    exported = sorted(_digest(path) for path in tmp_path.rglob("*.dcm"))
    assert exported == sorted(_digest(path) for path in reference.sources)


def _by_create(directory: Path, batches: Sequence[Sequence[Path]]) -> None:
    for batch in batches:
        assert create(directory / "root", batch)["published"] == len(batch)


def _by_run(directory: Path, batches: Sequence[Sequence[Path]]) -> None:
    inbound = directory / "inbound"
    inbound.mkdir()
    config = write_config(directory, {"rootDir": str(directory / "root")}, {"inbound": [{"dir": str(inbound)}]})
    with running(config) as daemon:
        for number, batch in enumerate(batches):
            (inbound / str(number)).mkdir()
            for index, path in enumerate(batch):
                shutil.copyfile(path, inbound / str(number) / f"{index:03}.dcm")
            _wait_until_published(daemon, sum(map(len, batches[: number + 1])))
        daemon.wait_until_idle()


def _wait_until_published(daemon: Daemon, count: int) -> None:
    daemon.until(lambda: daemon.status()["published"] == count, f"{count} published")


def _tree(root: Path) -> dict[str, str]:
    """Every file below studies/ by its digest, directories included."""
    studies = root / "studies"
    return {
        str(path.relative_to(studies)): _digest(path) if path.is_file() else "directory" for path in studies.rglob("*")
    }


def _stamps(root: Path) -> dict[str, tuple[int, int]]:
    """When each file and directory of the tree changed last, the daemon's own working directory left out."""
    found = (path for path in root.rglob("*") if ".staticwado" not in path.relative_to(root).parts)
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
