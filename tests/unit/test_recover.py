"""What an interrupted batch left is completed or withdrawn; what was told before is left alone."""

import errno
from pathlib import Path

import pytest

from staticwado_daemon.archive import holdings, layout, regular
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline import commit
from staticwado_daemon.pipeline.recover import recover
from staticwado_daemon.pipeline.studies import Studies
from tests.staging import stage

STUDY = UID("1.2")
FRAME = "studies/1.2/series/1.2.3/instances/{}/frames/1.mht"


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "root") as opened:
        yield opened


def store_batch(store: Store, *contents: str, instance: str = "") -> None:
    """Instances, each of one content, or contents of one instance."""
    staged = [stage(store.root, content=each, instance=instance or f"1.2.3.{each}") for each in contents]
    commit.commit(store, Studies(store.root, 1), staged)


def contents(store: Store) -> list[str]:
    return sorted(each.content for each in holdings.records(store.root, STUDY))


@pytest.mark.parametrize("damage", [b"", b"1", None], ids=["empty", "other", "missing"])
def test_an_instance_that_lost_a_blob_is_withdrawn_and_the_rest_of_its_batch_stays(store, damage) -> None:
    store_batch(store, "1", "2", "3")
    frame = store.root / FRAME.format("1.2.3.2")
    frame.unlink() if damage is None else frame.write_bytes(damage)
    recover(store, Studies(store.root, 1), STUDY)
    assert contents(store) == ["1", "3"]
    store_batch(store, "2")
    assert contents(store) == ["1", "2", "3"]
    assert frame.read_bytes() == b"2"


def test_one_without_its_remainder_is_withdrawn(store) -> None:
    store_batch(store, "1")
    (pack,) = holdings.pack_files(store.root, STUDY)
    (store.root / pack).unlink()
    recover(store, Studies(store.root, 1), STUDY)
    assert contents(store) == []


def test_the_version_before_is_the_published_one_again(store) -> None:
    store_batch(store, "a", instance="1.2.3.4")
    store.sync()
    store_batch(store, "b", instance="1.2.3.4")
    frame = store.root / FRAME.format("1.2.3.4")
    assert frame.read_bytes() == b"b"
    frame.write_bytes(b"")
    recover(store, Studies(store.root, 1), STUDY)
    assert contents(store) == ["a"]
    assert frame.read_bytes() == b"a"


def test_only_what_nobody_was_told_of_is_looked_at(store) -> None:
    store_batch(store, "1")
    store.sync()
    store_batch(store, "2")
    for name in ("1.2.3.1", "1.2.3.2"):
        (store.root / FRAME.format(name)).write_bytes(b"")
    recover(store, Studies(store.root, 1), STUDY)
    assert contents(store) == ["1"]


def test_batches_that_no_sync_followed_are_all_looked_at(store, monkeypatch) -> None:
    monkeypatch.setattr(store, "sync", lambda: None)
    for name in "123":
        store_batch(store, name)
        (store.root / FRAME.format(f"1.2.3.{name}")).write_bytes(b"")
    recover(store, Studies(store.root, 1), STUDY)
    assert contents(store) == []


def test_a_mark_that_names_what_is_not_there_or_not_ours_is_harmless(store, tmp_path) -> None:
    store_batch(store, "1")
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    mark = store.root / layout.dirty_mark(STUDY)
    mark.write_bytes(b"instances/1.2/gone.gz\n../outside\n\xff\xfe\n" + mark.read_bytes()[:10])
    recover(store, Studies(store.root, 1), STUDY)
    assert contents(store) == ["1"]
    assert outside.exists()


def test_that_a_blob_can_not_be_read_now_withdraws_nothing(store, monkeypatch) -> None:
    store_batch(store, "1")
    real = regular.opened

    def refuse(path: Path) -> object:
        if path.name == "1.mht":
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path)

    monkeypatch.setattr(regular, "opened", refuse)
    with pytest.raises(OSError, match="Too many"):
        recover(store, Studies(store.root, 1), STUDY)
    monkeypatch.undo()
    assert contents(store) == ["1"]
