"""The export as a zip archive: what every program reads, the same bytes whenever and wherever it goes."""

import io
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest

from staticwado_daemon.archive import audit
from staticwado_daemon.operate.export import zipped
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import by_series, named, select
from staticwado_daemon.operate.export.zip_stream import ZipStream
from staticwado_daemon.operate.targets import resolve
from tests import corpus
from tests.system.programs import STATICWADO, create, staticwado


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> corpus.Study:
    directory = tmp_path_factory.mktemp("zip")
    made = corpus.ct_study(directory / "in", instances=6, series=2, size=64)
    create(directory / "root", made.files)
    return made


@pytest.fixture
def root(study: corpus.Study) -> Path:
    return study.files[0].parents[1] / "root"


def _contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_the_same_archive_in_a_file_and_in_a_pipe(study: corpus.Study, root: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        staticwado("export", study.uid, "--root", root, "--zip", tmp_path / name)
    command = [*STATICWADO, "export", study.uid, "--root", str(root), "-o", "-"]
    piped = subprocess.run(command, capture_output=True, check=True)
    data = (tmp_path / "a.zip").read_bytes()
    assert (tmp_path / "b.zip").read_bytes() == data == piped.stdout
    assert b"standard output: 6 files" in piped.stderr
    contents = _contents(data)
    assert sorted(contents.values()) == sorted(path.read_bytes() for path in study.files)
    assert all(name.startswith(f"{study.uid}/") and name.count("/") == 2 for name in contents)
    assert (tmp_path / "a.zip").stat().st_mode & 0o077 == 0
    staticwado("export", study.uid, "--root", root, "--zip", tmp_path / "a.zip", expect=2)
    assert (tmp_path / "a.zip").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_long_files_are_made_twice_and_held_never(
    study: corpus.Study, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staticwado("export", study.uid, "--root", root, "--zip", tmp_path / "a.zip")
    monkeypatch.setattr(zipped, "HELD_BYTES", 1000)
    assert zipped._prove(iter([b"a" * 600, b"b" * 600])) == (1200, zlib.crc32(b"a" * 600 + b"b" * 600), None)
    chosen = named(select(root, resolve(root, [study.uid])), by_series)
    archive = io.BytesIO()
    assert all(each.problem is None for each in zipped.to_zip(Originals(root), chosen, archive.write))
    assert archive.getvalue() == (tmp_path / "a.zip").read_bytes()


def test_an_archive_beyond_4_gigabytes(tmp_path: Path) -> None:
    """A sparse file takes no room: five billion zeros, and a member behind them."""
    path, piece = tmp_path / "large.zip", bytes(50 << 20)
    count = 100
    with path.open("wb") as file:

        def write(data: bytes | memoryview) -> None:
            if data is piece:
                file.seek(len(piece), io.SEEK_CUR)
            else:
                file.write(data)

        checksum = 0
        for _ in range(count):
            checksum = zlib.crc32(piece, checksum)
        archive = ZipStream(write)
        archive.add("large.dcm", count * len(piece), checksum, (piece for _ in range(count)))
        archive.add("small.dcm", 5, zlib.crc32(b"small"), [b"small"])
        archive.finish()
    with zipfile.ZipFile(path) as read:
        large, small = read.infolist()
        assert large.file_size == count * len(piece)
        assert small.header_offset > 1 << 32
        assert read.read(small) == b"small"


def test_many_members() -> None:
    out = io.BytesIO()
    archive = ZipStream(out.write)
    for number in range(70_000):
        archive.add(str(number), 0, 0, [])
    archive.finish()
    with zipfile.ZipFile(out) as read:
        assert len(read.infolist()) == 70_000


def test_a_file_that_is_no_good_does_not_get_into_it(study: corpus.Study, root: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "root"
    shutil.copytree(root, damaged)
    frame = min((damaged / "studies").rglob("frames/1.mht"))
    frame.write_bytes(frame.read_bytes()[:-100])
    staticwado("export", study.uid, "--root", damaged, "--zip", tmp_path / "a.zip", expect=3)
    contents = _contents((tmp_path / "a.zip").read_bytes())
    assert len(contents) == len(study.files) - 1
    assert set(contents.values()) < {path.read_bytes() for path in study.files}


@pytest.mark.parametrize("options", [("-o", "studies/x"), ("-o", "."), ("--zip", "all.zip"), ("--dicomdir", "-o", "m")])
def test_nothing_is_exported_into_the_tree(study: corpus.Study, root: Path, options: tuple[str, ...]) -> None:
    before = sorted(root.glob("**/*"))
    *flags, place = options
    staticwado("export", study.uid, "--root", root, *flags, root / place, expect=2)
    assert [path for path in sorted(root.glob("**/*")) if path not in before] in ([], [root / audit.PATH])
