import errno
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from watchdog.observers.inotify_c import InotifyFD

from staticwado_daemon.inbound import lookout as module
from staticwado_daemon.inbound.lookout import Anchor, Lookout
from staticwado_daemon.inbound.mounts import Mount, mount_of
from staticwado_daemon.inbound.watch import Hint, Watcher
from tests.interleaving import at_every_step

MOUNTINFO = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:35 / /mnt/nas rw,relatime shared:9 - nfs4 nas:/export rw,vers=4.2
31 22 0:36 / /mnt/with\040space rw - cifs //server/share rw
32 22 0:37 / /mnt/sshfs rw - fuse.sshfs host:/ rw
33 22 8:17 / /media/usb rw - fuseblk /dev/sdb1 rw
34 30 0:38 / /mnt/nas/local rw master:2 propagate_from:1 - xfs /dev/sdc1 rw
35 22 0:39 / /dicom rw - ext4 /dev/sdd1 rw
36 35 0:40 / /dicom rw - fuse store rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind", "remote"),
    [
        ("/", "/", "ext4", False),
        ("/home/x", "/", "ext4", False),
        ("/mnt/nas", "/mnt/nas", "nfs4", True),
        ("/mnt/nas/a/b", "/mnt/nas", "nfs4", True),
        ("/mnt/nasty", "/", "ext4", False),
        ("/mnt/nas/local/a", "/mnt/nas/local", "xfs", False),
        ("/mnt/with space/in", "/mnt/with space", "cifs", True),
        ("/mnt/sshfs/in", "/mnt/sshfs", "fuse.sshfs", True),
        ("/media/usb/in", "/media/usb", "fuseblk", False),
        ("/dicom/in", "/dicom", "fuse", True),
    ],
)
def test_the_mount_of_a_path(path: str, point: str, kind: str, remote: bool) -> None:
    assert mount_of(path, MOUNTINFO.strip()) == Mount(point, kind)
    assert mount_of(path, MOUNTINFO.strip()).remote == remote


def test_this_machine_has_a_mount_for_everything(tmp_path: Path) -> None:
    assert str(tmp_path).startswith(mount_of(str(tmp_path)).point)
    assert mount_of("/proc/self") == Mount("/proc", "proc")


def test_an_anchor_that_fell_back_to_the_outer_mount_is_gone() -> None:
    disk = Anchor(Mount("/mnt/disk", "xfs"), 7, 128)
    assert disk.is_gone(Anchor(Mount("/", "ext4"), 1, 55))
    assert not disk.is_gone(Anchor(Mount("/mnt/disk", "xfs"), 8, 128))
    assert not Anchor(Mount("/", "ext4"), 1, 55).is_gone(disk)


class Heard(list[tuple[Hint, str]]):
    def __call__(self, hint: Hint, path: str) -> None:
        self.append((hint, path))


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_who_asks_what_is_not_watched_while_the_watcher_is_replaced_gets_an_answer(tmp_path: Path) -> None:
    def begin() -> tuple[Callable[[], int], Callable[[], object]]:
        lookout = Lookout(str(tmp_path), Heard())
        lookout._watcher = cast("Watcher", SimpleNamespace(unwatched=frozenset({"/in/a"}), stop=lambda: None))
        return lambda: lookout.unwatched, lookout.stop

    assert set(at_every_step(begin)) == {0, 1}


def test_a_local_folder_is_watched(tmp_path: Path) -> None:
    heard = Heard()
    lookout = Lookout(str(tmp_path), heard)
    assert lookout.check()
    assert (lookout.state, lookout.scans_only) == (("inotify", None), False)
    (tmp_path / "a").write_bytes(b"x")
    until(lambda: ("closed", str(tmp_path / "a")) in heard)
    watcher = lookout._watcher
    assert lookout.check()
    assert lookout._watcher is watcher  # nothing has changed, so nothing is set up anew
    lookout.stop()


def test_a_remote_folder_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mount_of", lambda _: Mount("/", "nfs4"))
    lookout = Lookout(str(tmp_path), Heard())
    assert lookout.check()
    assert lookout.mode == "polling"
    assert lookout.scans_only
    assert lookout.remote
    assert lookout.state[1] is not None
    assert "nfs4" in lookout.state[1]
    assert lookout._watcher is None


def test_a_missing_folder_is_unavailable_until_it_is_there(tmp_path: Path) -> None:
    root = tmp_path / "in"
    lookout = Lookout(str(root), Heard())
    assert not lookout.check()
    assert lookout.mode == "unavailable"
    root.mkdir()
    assert lookout.check()
    assert lookout.mode == "inotify"
    root.rmdir()
    assert not lookout.check()
    lookout.stop()


def test_an_unmounted_folder_is_unavailable_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [Mount(str(tmp_path), "xfs")]
    monkeypatch.setattr(module, "mount_of", lambda _: mounts[-1])
    lookout = Lookout(str(tmp_path), Heard())
    assert lookout.check()
    mounts.append(Mount("/", "ext4"))
    assert not lookout.check()
    assert lookout.mode == "unavailable"
    assert not lookout.check()
    mounts.append(mounts[0])
    assert lookout.check()
    assert lookout.mode == "inotify"
    lookout.stop()


def test_a_deleted_and_recreated_folder_is_watched_again(tmp_path: Path) -> None:
    heard = Heard()
    root = tmp_path / "in"
    root.mkdir()
    lookout = Lookout(str(root), heard)
    assert lookout.check()
    watcher = lookout._watcher
    assert watcher is not None
    root.rmdir()
    until(lambda: not watcher.alive)
    root.mkdir()
    assert lookout.check()
    (root / "a").write_bytes(b"x")
    until(lambda: ("closed", str(root / "a")) in heard)
    lookout.stop()


def refuse_watches(monkeypatch: pytest.MonkeyPatch, error: int, below: str) -> None:
    real = InotifyFD._get_or_create_watch

    def limited(self: InotifyFD, path: bytes, mask: object) -> object:
        if below.encode() in path:
            raise OSError(error, "inotify watch limit reached")
        return real(self, path, mask)  # type: ignore[arg-type]

    monkeypatch.setattr(InotifyFD, "_get_or_create_watch", limited)


def test_a_subtree_without_watches_is_scanned_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "before" / "deep").mkdir(parents=True)
    heard = Heard()
    now = [0.0]
    lookout = Lookout(str(tmp_path), heard, lambda: now[0])
    with monkeypatch.context() as patch:
        refuse_watches(patch, errno.ENOSPC, "before")
        assert lookout.check()
        assert lookout.mode == "inotify"
        assert lookout.unwatched == 2
        assert lookout.scans_only
        assert lookout.state[1] is not None
        assert "max_user_watches" in lookout.state[1]
        (tmp_path / "a").write_bytes(b"x")
        until(lambda: ("closed", str(tmp_path / "a")) in heard)  # the rest is watched as ever
    assert lookout.check()
    assert lookout.unwatched == 2  # not asked for at every scan,
    now[0] += 301.0
    assert lookout.check()
    assert lookout.unwatched == 0  # but now and then
    assert lookout.state[1] is None
    lookout.stop()


def test_a_new_subtree_without_watches_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    lookout = Lookout(str(tmp_path), heard)
    assert lookout.check()
    refuse_watches(monkeypatch, errno.ENOSPC, "later")
    (tmp_path / "later").mkdir()
    until(lambda: ("directory", str(tmp_path / "later")) in heard)
    assert lookout.scans_only
    assert lookout.check()
    assert lookout.state[1] is not None
    lookout.stop()


def test_without_inotify_instances_the_folder_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(InotifyFD, "_create_inotify_fd", refuse)
        lookout = Lookout(str(tmp_path), Heard())
        assert lookout.check()
        assert lookout.mode == "polling"
        assert lookout.state[1] is not None
        assert "max_user_instances" in lookout.state[1]
    assert lookout.check()
    assert lookout.mode == "inotify"
    lookout.stop()


def test_watching_many_nested_directories_again_costs_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    heard = Heard()
    lookout = Lookout(str(tmp_path), heard)
    assert lookout.check()
    for number in range(100):
        (tmp_path / str(number) / "a" / "b").mkdir(parents=True)
    until(lambda: ("directory", str(tmp_path / "99" / "a" / "b")) in heard)
    assert not recwarn.list
    lookout.stop()


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    root, other = tmp_path / "in", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    lookout = Lookout(str(root), Heard())
    assert lookout.check()
    root.rmdir()
    root.symlink_to(other)
    assert not lookout.check()
    assert lookout.mode == "unavailable"
    lookout.stop()
