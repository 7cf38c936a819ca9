"""Setting aside what nothing speaks of, and merging record files, because somebody asks."""

import errno
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from staticwado_daemon.archive import holdings, layout, record
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline import tidy
from staticwado_daemon.pipeline.commit import commit, sweep
from staticwado_daemon.pipeline.publish import publish_cold, publish_hot
from staticwado_daemon.pipeline.studies import Studies
from tests.staging import snapshot, stage

STUDY = UID("1.2")
INSTANCE = "studies/1.2/series/1.2.3/instances/1.2.3.4"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With a study of two instances, whose records came one by one."""
    with Store(tmp_path / "root") as opened:
        studies = Studies(opened.root, 1 << 20)
        for number in (4, 5):
            batch = [stage(opened.root, instance=f"1.2.3.{number}", bulk=(layout.bulk_file("a" * 64, gzipped=False),))]
            commit(opened, studies, batch)
            sweep(opened, batch)
        publish_hot(opened, studies.get(STUDY), {UID("1.2.3")}, StudiesIndex())
        publish_cold(opened, studies.get(STUDY))
        opened.put(layout.STUDIES_INDEX, gzip.compress(b"[]"))
        yield opened


def set_aside(store: Store, path: str) -> bool:
    return tidy.Aside(store, Studies(store.root, 1 << 20)).move(path)


def put(store: Store, *paths: str) -> None:
    for path in paths:
        store.put(path, path.encode())


@pytest.mark.parametrize(
    "path",
    [
        f"{INSTANCE}/x",
        f"{INSTANCE}/frames/2.mht",
        "studies/1.2/series/1.2.3/instances/1.2.9/metadata.gz",
        "studies/1.2/series/1.2.9/x",
        "studies/1.2/bulkdata/bbb/bb/x",
        "studies/1.9/index.json.gz",
        "studies/x",
        "studies/.index.json.gz.part",
        "deduplicated/1.2/x.gz",
        f"deduplicated/1.2/{'0' * 64}.gz",
        f"restore/1.2/{'0' * 64}.pack.gz",
        "instances/x",
    ],
)
def test_what_nothing_speaks_of_is_set_aside_and_not_deleted(store: Store, path: str) -> None:
    before = snapshot(store.root)
    put(store, path)
    assert set_aside(store, path)
    assert snapshot(store.root) == before | {f"{tidy.ORPHANS}/{path}": path.encode()}
    put(store, path)
    assert set_aside(store, path)
    assert snapshot(store.root) == before | {f"{tidy.ORPHANS}/{path}{end}": path.encode() for end in ("", ".1")}
    assert not set_aside(store, path), "it is gone"


@pytest.mark.parametrize(
    "path", ["studies/1.9", "studies/1.2/series/1.2.9", "studies/1.2/series/1.2.3/instances/1.2.9"]
)
def test_so_is_a_whole_directory(store: Store, path: str) -> None:
    put(store, f"{path}/a", f"{path}/b/c")
    assert set_aside(store, path)
    assert not (store.root / path).exists()
    assert store.read(f"{tidy.ORPHANS}/{path}/b/c")


def test_what_a_record_speaks_of_stays_whoever_asks(store: Store) -> None:
    before = snapshot(store.root)
    files = [path for path in before if layout.is_by_study(path)]
    assert len(files) >= 20
    directories = {str(parent) for path in files for parent in Path(path).parents}
    for path in (*files, *directories):
        assert not set_aside(store, path), path
    assert snapshot(store.root) == before


def test_the_records_of_a_study_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[UID] = []
    records = holdings.records

    def told(root: Path, study: UID) -> list[record.Record]:
        read.append(study)
        return records(root, study)

    monkeypatch.setattr(holdings, "records", told)
    paths = [f"studies/1.2/{number}" for number in range(5)]
    put(store, *paths, "studies/1.9/x")
    aside = tidy.Aside(store, Studies(store.root, 1 << 20))
    assert all(aside.move(path) for path in [*paths, "studies/1.9/x"])
    assert read == [STUDY, UID("1.9")]


def test_nothing_is_taken_from_elsewhere(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside/x").mkdir(parents=True)
    (store.root / "studies/1.2/out").symlink_to(tmp_path / "outside")
    (store.root / "studies/1.8").symlink_to(tmp_path / "outside")
    before = snapshot(tmp_path)
    for path in (
        "studies/1.2/out/x",
        "studies/1.8/x",
        "studies/../.staticwado/format.json",
        ".staticwado/format.json",
        "studies/1.2/../../../outside",
        "../outside/x",
        "/etc/hostname",
    ):
        assert not set_aside(store, path), path
    assert snapshot(tmp_path) == before
    assert set_aside(store, "studies/1.2/out"), "the link itself can be moved"
    assert (tmp_path / "outside/x").is_dir()
    assert (store.root / tidy.ORPHANS / "studies/1.2/out").is_symlink()


def test_record_files_and_packs_are_merged_at_once(store: Store) -> None:
    records = set(holdings.records(store.root, STUDY))
    assert tidy.group(store, STUDY)
    assert [len(files(store.root, STUDY)) for files in (holdings.record_files, holdings.pack_files)] == [1, 1]
    assert set(holdings.records(store.root, STUDY)) == records
    assert not tidy.group(store, STUDY)
    assert not tidy.group(store, UID("1.9"))


def test_a_file_gets_the_name_of_what_it_holds(store: Store) -> None:
    tidy.group(store, STUDY)
    (path,) = holdings.record_files(store.root, STUDY)
    wrong = f"{layout.records_dir(STUDY)}/{'0' * 64}.gz"
    (store.root / path).rename(store.root / wrong)
    assert tidy.group(store, STUDY)
    assert holdings.record_files(store.root, STUDY) == [path]


def test_of_damaged_files_nothing_is_made(store: Store) -> None:
    damaged = [*holdings.record_files(store.root, STUDY), *holdings.pack_files(store.root, STUDY)]
    for path in damaged:
        (store.root / path).write_bytes(b"damaged")
    assert not tidy.group(store, STUDY)
    assert [*holdings.record_files(store.root, STUDY), *holdings.pack_files(store.root, STUDY)] == damaged
    assert all(set_aside(store, path) for path in damaged)


def test_a_disk_that_refuses_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "studies/x")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space"):
        set_aside(store, "studies/x")
    assert store.read("studies/x")
