"""Whether accounts may do in folders what they have to: the daemon write, the web server read.

Rights are told from owner and mode, so that anybody may ask for anybody. Where an access control list says more than
the mode, it is believed.
"""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.inbound.mounts import mount_of
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine

_ACL = "system.posix_acl_access"
_VERBS = {os.R_OK: "list", os.W_OK: "write to", os.X_OK: "enter"}


@dataclass(frozen=True, slots=True)
class Account:
    """A user with its groups."""

    name: str
    uid: int
    gids: frozenset[int]


def account(uid: int) -> Account:
    """The account with a number, which may be one that no name was given to."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(f"user {uid}", uid, frozenset())
    return Account(entry.pw_name, uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def member(user: str, group: str) -> Account:
    """The account of a server that runs as `user` in `group`, such as nginx's workers.

    Raises:
        KeyError: if there is no such user or group.
    """
    known = account(pwd.getpwnam(user).pw_uid)
    return Account(user, known.uid, known.gids | {grp.getgrnam(group).gr_gid})


def folder(path: Path, who: Account, *, write: bool) -> Finding:
    """Whether a folder is there and `who` may list it, and if wanted write to it."""
    if blocked := _blocked(path, who):
        return attention(blocked)
    if not path.exists():
        return attention(f"{path} isn't there: create it, mount its disk, or correct the settings")
    if not path.is_dir():
        return attention(f"{path} isn't a folder: correct the settings")
    for right in (os.R_OK, os.X_OK, *((os.W_OK,) if write else ())):
        if not _may(path, who, right):
            return attention(f"{who.name} may not {_VERBS[right]} {path}: {_remedy(path, who, right)}")
    return fine(f"{path}: {who.name} may read {'and write' if write else 'it'}")


def readers(root: Path, who: Account) -> Finding:
    """Whether the web server may read what is published."""
    studies = root / "studies"
    if blocked := _blocked(studies, who):
        return attention(blocked)
    if not studies.exists():
        return fine("nothing is published yet")
    for path, rights in ((studies, (os.R_OK, os.X_OK)), (root / layout.STUDIES_INDEX, (os.R_OK,))):
        if path.exists() and not all(_may(path, who, right) for right in rights):
            return attention(
                f"nginx ({who.name}) may not read {path}: let its workers be in the group {_group_of(path)}, "
                "as the configuration of `staticwado nginx-config --system` does"
            )
    return fine(f"nginx ({who.name}) may read the tree")


def writable_within(mountinfo: str, paths: Iterable[Path]) -> Finding:
    """Whether folders that are to be emptied can be written to from where the daemon is.

    A service sees file systems its own way: most of them read-only, whatever the mode of a folder.

    Args:
        mountinfo: of the daemon's process, proc(5).
        paths: of the folders.
    """
    for path in paths:
        point = mount_of(str(path.resolve()), mountinfo).point
        options = [line.split(" ")[5] for line in mountinfo.splitlines() if line.split(" ")[4] == point]
        if options and "ro" in options[-1].split(","):
            return attention(
                f"the running daemon can't write to {path}: add it to ReadWritePaths= with `systemctl edit staticwado`"
            )
    return fine("the running daemon can write where it has to")


def _group_of(path: Path) -> str:
    gid = path.stat().st_gid
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _blocked(path: Path, who: Account) -> str | None:
    """One sentence if a directory on the way is closed to `who`."""
    for parent in reversed(path.resolve().parents):
        if parent.exists() and not _may(parent, who, os.X_OK):
            return f"{who.name} can't pass {parent} on the way to {path}: {_remedy(parent, who, os.X_OK)}"
    return None


def _remedy(path: Path, who: Account, right: int) -> str:
    name = who.name if not who.name.startswith("user ") else str(who.uid)
    return f"setfacl -m u:{name}:{'rwx' if right == os.W_OK else 'rx' if right == os.R_OK else 'x'} {path}"


def _may(path: Path, who: Account, right: int) -> bool:
    if who.uid == 0:
        return True
    status = path.stat()
    if _has_list(path):
        return True
    mode = stat.S_IMODE(status.st_mode)
    shift = 6 if status.st_uid == who.uid else 3 if status.st_gid in who.gids else 0
    return bool(mode >> shift & right)


def _has_list(path: Path) -> bool:
    """Whether there is an access control list; some file systems (sshfs, say) have nothing of the kind."""
    try:
        return _ACL in os.listxattr(path)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return False
        raise
