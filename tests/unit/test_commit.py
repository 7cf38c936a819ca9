"""Committing and publishing, without processes: staged instances in, files of the tree out."""

import hashlib
import random
import shutil
from dataclasses import replace

import pytest

from staticwado_daemon.archive import gzipped, holdings, layout, record, restore
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.pack import from_pack
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import moment
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.inbound import source as source_module
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import commit as committing
from staticwado_daemon.pipeline import publish, removal
from staticwado_daemon.pipeline.messages import Remove
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies
from tests.staging import load, snapshot, stage


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "root") as opened:
        yield opened


def commit(store, studies, batch):
    done = committing.commit(store, studies, batch)
    committing.sweep(store, batch)
    return done


def publish_all(store, studies, done) -> StudiesIndex:
    index = StudiesIndex()
    for study, series in done.dirty.items():
        publish.publish_hot(store, studies.get(study), series, index)
        publish.publish_cold(store, studies.get(study))
    return index


def test_a_new_instance_is_placed_recorded_and_listed(store) -> None:
    studies = Studies(store.root, 1 << 20)
    done = commit(store, studies, [stage(store.root, bulk=("bulkdata/aaa/bb/c",), t00200013=1, t00080060="CT")])
    index = publish_all(store, studies, done)
    assert [receipt.outcome for receipt in done.receipts] == ["published"]
    assert store.read("studies/1.2/series/1.2.3/instances/1.2.3.4/frames/1.mht") == b"c0"
    assert store.read("studies/1.2/bulkdata/aaa/bb/c") == b"bulk"
    assert [each.revision for each in holdings.records(store.root, UID("1.2"))] == [1]
    assert load(store.root, "studies/1.2/series/1.2.3/metadata.gz")[0]["00080018"]["Value"] == ["1.2.3.4"]
    assert load(store.root, "studies/1.2/index.json.gz")[0]["00201208"]["Value"] == [1]
    files = ("series/index.json.gz", "metadata.gz", "instances/index.json.gz")
    series = ("series-singleton.json.gz", "instances/index.json.gz")
    for path in (*files, *(f"series/1.2.3/{name}" for name in series)):
        assert len(load(store.root, f"studies/1.2/{path}")) == 1
    assert store.read("studies/1.2/thumbnail") == store.read("studies/1.2/series/1.2.3/thumbnail") == b"jpeg c0"
    assert index.instances == 1
    assert store.names(layout.STAGING) == []


def test_known_content_is_a_duplicate_and_changes_nothing(store) -> None:
    studies = Studies(store.root, 1 << 20)
    publish_all(store, studies, commit(store, studies, [stage(store.root)]))
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    for knowledge in (studies, Studies(store.root, 1 << 20)):
        done = commit(store, knowledge, [stage(store.root)])
        assert [receipt.outcome for receipt in done.receipts] == ["duplicate"]
        assert not done.dirty
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()} == before


def test_new_content_supersedes_and_the_old_is_kept_and_stays_known(store) -> None:
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [stage(store.root, content="old")])
    done = commit(store, studies, [stage(store.root, content="new")])
    publish_all(store, studies, done)
    identity = done.receipts[0].identity
    assert done.superseded == [(identity, "old")]
    assert store.read(f"{layout.instance_dir(identity)}/frames/1.mht") == b"new"
    assert store.read(f"{layout.kept_dir(identity, 'old')}/frames/1.mht") == b"old"
    assert {(each.content, each.revision) for each in holdings.records(store.root, UID("1.2"))} == {
        ("old", 1),
        ("new", 2),
    }
    again = commit(store, studies, [stage(store.root, content="old")])
    assert [receipt.outcome for receipt in again.receipts] == ["duplicate"]


def test_several_contents_of_an_instance_in_one_batch_end_with_the_last(store) -> None:
    studies = Studies(store.root, 1 << 20)
    done = commit(store, studies, [stage(store.root, content=content) for content in ("a", "b", "a", "c")])
    outcomes = [receipt.outcome for receipt in done.receipts]
    assert outcomes == ["published", "published", "duplicate", "published"]
    assert [content for _, content in done.superseded] == ["a", "b"]
    identity = done.receipts[0].identity
    assert store.read(f"{layout.instance_dir(identity)}/frames/1.mht") == b"c"
    assert store.names(f"{layout.KEPT}/1.2/1.2.3/1.2.3.4") == ["a", "b"]


def test_the_published_tree_depends_on_the_set_of_instances_alone(tmp_path) -> None:
    trees = []
    for seed in range(3):
        shuffled = [(f"1.2.{series}", f"1.2.{series}.{number}") for series in (1, 2) for number in range(1, 13)]
        random.Random(seed).shuffle(shuffled)
        with Store(tmp_path / str(seed)) as store:
            studies = Studies(store.root, 1 << 20)
            step = (1, 5, 24)[seed]
            for start in range(0, len(shuffled), step):
                batch = [
                    stage(store.root, series=series, instance=instance, content=instance, t00200013=int(instance[6:]))
                    for series, instance in shuffled[start : start + step]
                ]
                publish_all(store, studies, commit(store, studies, batch))
                publish.group(store, UID("1.2"))
            trees.append(snapshot(store.root / "studies"))
            assert len(holdings.records(store.root, UID("1.2"))) == 24
    assert trees[0] == trees[1] == trees[2]


def test_grouping_keeps_every_record_and_remainder(store) -> None:
    studies = Studies(store.root, 1 << 20)
    for number in range(publish.MAXIMUM_FILES + 1):
        commit(store, studies, [stage(store.root, instance=f"1.2.3.{number}", content=str(number))])
    before = set(holdings.records(store.root, UID("1.2")))
    publish.group(store, UID("1.2"))
    assert set(holdings.records(store.root, UID("1.2"))) == before
    assert store.names(layout.pending_dir(UID("1.2"))) == []
    (name,) = store.names(layout.records_dir(UID("1.2")))
    assert name == record.to_file(before)[0]
    (pack,) = store.names(layout.restore_dir(UID("1.2")))
    remainders = dict(from_pack(store.read(f"{layout.restore_dir(UID('1.2'))}/{pack}")))
    assert len(remainders) == publish.MAXIMUM_FILES + 1


def test_an_unreadable_record_file_costs_neither_the_others_nor_itself(store) -> None:
    studies = Studies(store.root, 1 << 20)
    for number in range(publish.MAXIMUM_FILES + 1):
        commit(store, studies, [stage(store.root, instance=f"1.2.3.{number}", content=str(number))])
    broken = f"{layout.pending_dir(UID('1.2'))}/0000.gz"
    store.put(broken, b"not gzip")
    assert len(holdings.records(store.root, UID("1.2"))) == publish.MAXIMUM_FILES + 1
    publish.group(store, UID("1.2"))
    assert store.read(broken) == b"not gzip"
    assert len(holdings.records(store.root, UID("1.2"))) == publish.MAXIMUM_FILES + 1


def test_a_disk_that_refuses_leaves_what_was_there_and_the_next_try_succeeds(store, monkeypatch) -> None:
    studies = Studies(store.root, 1 << 20)
    publish_all(store, studies, commit(store, studies, [stage(store.root)]))
    before = snapshot(store.root / "studies")

    def full(*_):
        raise OSError(28, "No space left on device")

    refused = [stage(store.root, instance="1.2.3.5", content="c1")]
    with monkeypatch.context() as patched:
        patched.setattr(store, "put", full)
        with pytest.raises(OSError, match="No space"):
            commit(store, studies, refused)
    assert snapshot(store.root / "studies") == before
    done = commit(store, studies, [stage(store.root, instance="1.2.3.5", content="c1")])
    assert [receipt.outcome for receipt in done.receipts] == ["published"]


def test_the_studies_index_is_made_from_the_studies_where_it_is_damaged(store) -> None:
    studies = Studies(store.root, 1 << 20)
    done = commit(store, studies, [stage(store.root), stage(store.root, study="1.9", instance="1.9.4")])
    index = publish_all(store, studies, done)
    publish.publish_index(store, index)
    good = store.read(layout.STUDIES_INDEX)
    assert publish.read_index(store).to_file() == good
    store.put(layout.STUDIES_INDEX, good[:20])
    assert publish.read_index(store) is None
    assert publish.rebuild_index(store)[0].to_file() == good
    store.put("studies/1.9/index.json.gz", b"")
    rebuilt, unreadable = publish.rebuild_index(store)
    assert (len(rebuilt), unreadable) == (1, [UID("1.9")])


def test_what_is_missing_of_a_known_instance_is_put_back_by_the_next_copy(store) -> None:
    studies = Studies(store.root, 1 << 20)
    publish_all(store, studies, commit(store, studies, [stage(store.root, bulk=("bulkdata/aaa/bb/c",))]))
    before = snapshot(store.root)
    shutil.rmtree(store.root / "studies/1.2")
    shutil.rmtree(store.root / "restore/1.2")
    studies = Studies(store.root, 1 << 20)
    done = commit(store, studies, [stage(store.root, bulk=("bulkdata/aaa/bb/c",))])
    assert [receipt.outcome for receipt in done.receipts] == ["duplicate"]
    publish_all(store, studies, done)
    assert snapshot(store.root) == before


def _another_file_of_the_same(store, path) -> Staged:
    """Staged from a file that is to be deleted and differs from the known one in its file meta information alone."""
    path.write_bytes(b"another preamble")
    source = Source(path, Stamp.of(path.lstat()), "delete")
    staged = stage(store.root, source=source)
    return replace(staged, record=replace(staged.record, source=hashlib.sha256(b"another preamble").hexdigest()))


def test_the_file_of_a_known_data_set_is_kept_whole_before_it_may_be_deleted(store, tmp_path) -> None:
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [stage(store.root)])
    other = _another_file_of_the_same(store, tmp_path / "other")
    commit(store, studies, [other])
    assert gzipped.unpack(store.read(layout.original(other.record.content, other.record.source))) == b"another preamble"


def test_it_is_kept_without_decoding_anything_that_a_worker_made(store, tmp_path, monkeypatch) -> None:
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [stage(store.root)])
    other = _another_file_of_the_same(store, tmp_path / "other")
    monkeypatch.delattr(restore, "rebuild")
    commit(store, studies, [replace(other, remainder=b"nothing that could be rebuilt from")])
    assert store.names(layout.originals_dir(other.record.content)) == [f"{other.record.source}.gz"]


def test_what_can_t_be_kept_whole_gets_no_receipt_after_which_it_would_be_deleted(store, tmp_path) -> None:
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [stage(store.root)])
    other = _another_file_of_the_same(store, tmp_path / "other")
    other.source.path.write_bytes(b"changed since")
    gone = _another_file_of_the_same(store, tmp_path / "gone")
    gone.source.path.unlink()
    neighbour = stage(store.root, instance="1.2.3.5", content="n")
    done = commit(store, studies, [other, gone, neighbour])
    assert [receipt and receipt.outcome for receipt in done.receipts] == [None, None, "published"]


def test_nor_does_one_that_changes_while_it_is_kept(store, tmp_path, monkeypatch) -> None:
    """One that is too long to be read at once is known to have stayed the same only at its end."""
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [stage(store.root)])
    monkeypatch.setattr(source_module, "WHOLE_BYTES", 4)
    monkeypatch.setattr(committing, "_CHUNK_BYTES", 5)
    other = _another_file_of_the_same(store, tmp_path / "other")
    commit(store, studies, [other])
    assert gzipped.unpack(store.read(layout.original(other.record.content, other.record.source))) == b"another preamble"
    again = _another_file_of_the_same(store, tmp_path / "again")
    packed = gzipped.pack_pieces

    def packed_while_it_is_written_to(pieces):
        yield from packed(pieces)
        (tmp_path / "again").write_bytes(b"ANOTHER PREAMBLE")

    monkeypatch.setattr(gzipped, "pack_pieces", packed_while_it_is_written_to)
    store.discard(layout.ORIGINALS)
    assert commit(store, studies, [again]).receipts == [None]
    assert store.names(layout.ORIGINALS) == store.names(layout.PREPARING) == []


def test_a_file_that_brings_back_what_was_deleted_is_kept_whole_as_well(store, tmp_path) -> None:
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [stage(store.root)])
    order = Remove(1, "delete", (Target(UID("1.2")),), moment(), "anna", "")
    removal.remove(store, studies, UID("1.2"), order)
    other = _another_file_of_the_same(store, tmp_path / "other")
    done = commit(store, studies, [replace(other, source=replace(other.source, force=True))])
    assert [receipt.outcome for receipt in done.receipts] == ["published"]
    assert gzipped.unpack(store.read(layout.original(other.record.content, other.record.source))) == b"another preamble"


def _stored_otherwise(store: Store, source: Source, settings: str = "", **fields) -> Staged:
    """The same content of the same file, with another frame: what other settings would make of it."""
    staged = stage(store.root, source=source, **fields)
    if not settings:
        return staged
    (staged.directory / "frames/1.mht").write_bytes(settings.encode())
    digest = hashlib.sha256(settings.encode()).hexdigest()
    blobs = tuple(
        replace(each, length=len(settings), sha256=digest) if each.path == "frames/1.mht" else each
        for each in staged.record.blobs
    )
    return replace(staged, record=replace(staged.record, blobs=blobs))


@pytest.mark.parametrize(("force", "outcome", "frame"), [(True, "published", b"other"), (False, "duplicate", b"c0")])
def test_what_is_taken_in_any_case_is_stored_as_the_settings_are_now(store, force, outcome, frame) -> None:
    source = Source(store.root / "in", Stamp(1, 2, 3, 4), force=force)
    studies = Studies(store.root, 1 << 20)
    commit(store, studies, [_stored_otherwise(store, source)])
    done = commit(store, studies, [_stored_otherwise(store, source, "other")])
    assert ([each.outcome for each in done.receipts], done.superseded) == ([outcome], [])
    identity = done.receipts[0].identity
    assert store.read(f"{layout.instance_dir(identity)}/frames/1.mht") == frame
    assert [path for path in (store.root / layout.KEPT).rglob("*") if path.is_file()] == []
    again = commit(store, Studies(store.root, 1 << 20), [_stored_otherwise(store, source, "other")])
    assert [each.outcome for each in again.receipts] == ["duplicate"]
    assert store.read(f"{layout.instance_dir(identity)}/frames/1.mht") == frame
