import errno
import random
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.archive.store import Store, SyncFailed
from staticwado_daemon.errors import ConfigError, Transient
from tests.crash import power
from tests.crash.disks import Recording


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "root") as opened:
        yield opened


def staged(store, name, files):
    directory = store.root / layout.STAGING / name
    stage = Stage(directory)
    for path, data in files.items():
        stage.write(path, [data])
    return directory


def test_put_says_whether_it_changed_anything_and_leaves_equal_files_alone(store) -> None:
    assert store.put("studies/1.2/a", b"one")
    before = (store.root / "studies/1.2/a").stat()
    assert not store.put("studies/1.2/a", b"one")
    after = (store.root / "studies/1.2/a").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert store.put("studies/1.2/a", b"two")
    assert store.read("studies/1.2/a") == b"two"


def test_each_version_has_its_own_size_or_second_because_servers_tell_versions_apart_by_these(store) -> None:
    seen = set()
    for version in (b"one", b"two", b"three", b"six", b"seven"):
        store.put("studies/1.2/a", version)
        status = (store.root / "studies/1.2/a").stat()
        seen.add((int(status.st_mtime), status.st_size))
    assert len(seen) == 5


def test_what_is_longer_than_it_may_be_or_no_file_is_not_read(store) -> None:
    store.put("studies/1.2/a", b"four")
    assert store.read("studies/1.2/a", 4) == b"four"
    assert store.read("studies/1.2/a", 3) is None
    assert store.read("studies/1.2") is None


def test_what_comes_in_pieces_and_breaks_off_leaves_nothing(store) -> None:
    def pieces():
        yield b"one"
        raise Transient("the file changed while it was read")

    with pytest.raises(Transient):
        store.prepare_pieces(pieces())
    assert store.names(layout.PREPARING) == []
    store.publish(store.prepare_pieces([b"one", memoryview(b"two")]), "x")
    assert store.read("x") == b"onetwo"


def test_an_instance_becomes_visible_whole(store) -> None:
    directory = staged(store, "t", {"instance/frames/1.mht": b"f", "instance/metadata.gz": b"m"})
    store.publish(directory / "instance", "studies/1/series/2/instances/3")
    assert store.read("studies/1/series/2/instances/3/frames/1.mht") == b"f"


def test_what_stands_at_a_name_gives_way(store) -> None:
    for name, data in (("a", b"old"), ("b", b"new")):
        store.publish(staged(store, name, {"instance/x": data}) / "instance", "studies/1/i")
    assert store.read("studies/1/i/x") == b"new"
    assert store.names(layout.STAGING) == ["a", "b"]


def test_directories_change_places_and_the_visible_one_gets_later_files(store) -> None:
    store.publish(staged(store, "a", {"instance/x": b"old"}) / "instance", "studies/1/i")
    store.publish(staged(store, "b", {"instance/x": b"new"}) / "instance", "kept/new")
    store.replace("studies/1/i", "kept/new", ["kept/spare"])
    assert store.read("studies/1/i/x") == b"new"
    assert store.read("kept/new/x") == b"old"
    store.move("kept/new", "kept/old")
    assert store.names("kept") == ["old"]
    visible, former = (store.root / path for path in ("studies/1/i/x", "kept/old/x"))
    assert int(visible.stat().st_mtime) > int(former.stat().st_mtime)


class Plain(Disk):
    """A file system that can't exchange two names in one step, and may refuse one of the steps it takes instead."""

    def __init__(self, refused: int = 0) -> None:
        self.until_refusal = refused

    def exchange(self, one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "no exchange", str(one), None, str(other))

    def rename(self, path: Path, target: Path) -> None:
        self.until_refusal -= 1
        if self.until_refusal == 0:
            raise OSError(errno.EIO, "refused")
        super().rename(path, target)


@pytest.fixture
def plain(tmp_path):
    disk = Plain()
    with Store(tmp_path / "root", disk=disk) as opened:
        opened.publish(staged(opened, "a", {"instance/x": b"old"}) / "instance", "studies/1/i")
        opened.publish(staged(opened, "b", {"instance/x": b"new"}) / "instance", "kept/new")
        opened.publish(staged(opened, "c", {"instance/x": b"other"}) / "instance", "kept/one-exchanged")
        yield opened, disk


SPARES = ["kept/one-exchanged", "kept/new-exchanged"]


def test_where_there_is_no_exchange_directories_change_places_all_the_same(plain) -> None:
    store, _ = plain
    store.replace("studies/1/i", "kept/new", SPARES)
    assert store.read("studies/1/i/x") == b"new"
    assert store.read("kept/new/x") == b"old"
    assert store.read("kept/one-exchanged/x") == b"other"
    assert store.names("kept") == ["new", "one-exchanged"]


def test_and_what_stands_at_a_name_gives_way(plain) -> None:
    store, _ = plain
    store.publish(staged(store, "d", {"instance/x": b"newer"}) / "instance", "studies/1/i")
    assert store.read("studies/1/i/x") == b"newer"
    assert not [name for name in store.names(layout.STAGING) if name.startswith("put")]


@pytest.mark.parametrize(("step", "published"), [(1, b"old"), (2, b"old"), (3, b"new")])
def test_a_step_that_is_refused_leaves_one_of_them_published_and_none_lost(plain, step, published) -> None:
    store, disk = plain
    disk.until_refusal = step
    with pytest.raises(OSError, match="refused"):
        store.replace("studies/1/i", "kept/new", SPARES)
    assert store.read("studies/1/i/x") == published
    held = {store.read(f"{directory}/x") for directory in ("studies/1/i", *map("kept/{}".format, store.names("kept")))}
    assert held == {b"old", b"new", b"other"}


def test_what_is_discarded_is_gone(store) -> None:
    store.put("kept/a/b", b"x")
    store.discard("kept/a")
    store.discard("kept/a")
    assert store.names("kept") == []
    assert store.names(layout.STAGING) == []


def test_files_are_for_the_owner_and_the_group_only(store) -> None:
    store.put("studies/1.2/a", b"one")
    assert (store.root / "studies/1.2/a").stat().st_mode & 0o777 == 0o640
    assert (store.root / "studies/1.2").stat().st_mode & 0o777 == 0o750


def test_only_one_process_writes(store) -> None:
    assert lock_holder(store.root) == "create"
    with pytest.raises(Transient, match="another staticwado"):
        Store(store.root)


def test_a_killed_writer_leaves_neither_lock_nor_litter(tmp_path) -> None:
    program = (
        "import os, pathlib, sys; from staticwado_daemon.archive.store import Store\n"
        "from staticwado_daemon.archive.stage import Stage\n"
        "root = pathlib.Path(sys.argv[1]); store = Store(root)\n"
        "Stage(root / '.staticwado/staging/left').write('a/b', [b'x']); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "root")], check=False, timeout=60)
    assert done.returncode == -9
    with Store(tmp_path / "root") as store:
        assert store.names(layout.STAGING) == []
    assert not lock_holder(tmp_path / "root")


def test_a_tree_of_another_program_is_not_touched(tmp_path) -> None:
    (tmp_path / "studies").mkdir()
    with pytest.raises(ConfigError, match="not made by staticwado"):
        Store(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["studies"]


def test_our_own_tree_is_known_without_its_private_directory(tmp_path) -> None:
    for name in ("studies", "restore"):
        (tmp_path / name).mkdir()
    with Store(tmp_path, role="daemon"):
        assert lock_holder(tmp_path) == "daemon"


def test_a_damaged_format_is_a_clear_error(tmp_path) -> None:
    with Store(tmp_path) as store:
        store.put(layout.FORMAT, b"")
    with pytest.raises(ConfigError, match="can't be read"):
        Store(tmp_path)


@pytest.mark.parametrize("former", [None, b'{"format": 1}'])
def test_a_power_cut_while_a_tree_begins_leaves_one_that_can_be_opened(tmp_path, former) -> None:
    root = tmp_path / "root"
    before: power.Directory = {"root": {".staticwado": {"format.json": former}} if former else {}}
    power.write(before["root"], root)
    disk = Recording()
    with Store(root, disk=disk):
        pass
    for last in range(len(disk.calls) + 1):
        for seed in range(10):
            shutil.rmtree(root)
            found = power.after_power_cut(before, disk.calls[:last], tmp_path, random.Random(seed))
            power.write(found["root"], root)
            with Store(root) as store:
                assert store.names("studies") == []


def test_a_newer_tree_is_refused(tmp_path) -> None:
    with Store(tmp_path) as store:
        store.put(layout.FORMAT, b'{"format": 99}')
    with pytest.raises(ConfigError, match="format 99"):
        Store(tmp_path)


def test_a_root_that_cannot_be_written_is_a_clear_error(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot write below"):
        Store(tmp_path / "file" / "root")


class Faulty(Disk):
    """A disk whose next syncs fail, or that doesn't remove anything."""

    def __init__(self) -> None:
        self.loses = iter(())
        self.keeps = False

    def syncfs(self, descriptor: int) -> None:
        if next(self.loses, False):
            raise OSError(errno.EIO, "lost")
        super().syncfs(descriptor)

    def remove_tree(self, path: Path) -> None:
        if self.keeps:
            raise OSError(errno.EROFS, "read-only")
        super().remove_tree(path)


@pytest.fixture
def faulty(tmp_path):
    disk = Faulty()
    with Store(tmp_path / "root", disk=disk) as opened:
        yield opened, disk


def test_after_a_failed_sync_equal_files_are_written_again_but_only_once(faulty) -> None:
    store, disk = faulty
    store.put("studies/1.2/before", b"x")
    store.sync()
    store.put("studies/1.2/after", b"x")
    disk.loses = iter((True,))
    with pytest.raises(SyncFailed, match="lost"):
        store.sync()
    assert not store.put("studies/1.2/before", b"x")
    assert store.put("studies/1.2/after", b"x")
    assert not store.put("studies/1.2/after", b"x")


def test_what_was_staged_before_a_failed_sync_is_refused_for_the_same_reason(faulty) -> None:
    store, disk = faulty
    before = staged(store, "before", {"instance/x": b""})
    store.check_staged(before)
    disk.loses = iter((True,))
    with pytest.raises(SyncFailed):
        store.sync()
    with pytest.raises(OSError, match="lost"):
        store.check_staged(before)
    store.check_staged(staged(store, "after", {"instance/x": b""}))
    store.sync()
    with pytest.raises(OSError, match="lost"):
        store.check_staged(before)
    store.sweep(before)
    store.check_staged(staged(store, "before", {"instance/x": b""}))


def test_what_has_got_its_name_since_the_last_sync_is_known(faulty) -> None:
    store, disk = faulty
    store.put("instances/1.2/a.gz", b"x")
    store.put("deduplicated/1.2/b.gz", b"x")
    store.put("instances/1.20/c.gz", b"x")
    names = ["deduplicated/1.2/b.gz", "instances/1.2/a.gz"]
    disk.loses = iter((True,))
    assert store.unsynced("instances/1.2", "deduplicated/1.2") == names
    with pytest.raises(SyncFailed):
        store.sync()
    assert store.unsynced("instances/1.2", "deduplicated/1.2") == names
    store.sync()
    assert store.unsynced("instances/1.2", "deduplicated/1.2") == []


def test_what_the_disk_would_not_remove_is_removed_later(faulty) -> None:
    store, disk = faulty
    disk.keeps = True
    store.sweep(staged(store, "task", {"instance/x": b""}))
    store.tidy()
    assert store.names(layout.STAGING) == ["task"]
    disk.keeps = False
    store.tidy()
    assert store.names(layout.STAGING) == []


@pytest.mark.parametrize(("syncs", "names"), [((True,), ["a", "b"]), ((False, True), ["a", "ab", "b"]), ((), ["ab"])])
def test_files_give_way_to_their_successor_once_it_is_on_the_disk(faulty, syncs, names) -> None:
    store, disk = faulty
    for name in ("a", "b"):
        store.put(f"instances/1.2/{name}", name.encode())
    disk.loses = iter(syncs)
    with pytest.raises(SyncFailed) if syncs else nullcontext():
        store.supersede(["instances/1.2/a", "instances/1.2/b"], "instances/1.2/ab", b"ab")
    assert store.names("instances/1.2") == names
    assert store.names(layout.STAGING) == []
