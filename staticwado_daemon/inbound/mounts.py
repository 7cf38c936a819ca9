"""Which file system an inbound folder is on, and whether inotify hears everything that happens there."""

from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

# Changes made on another machine (or outside the virtual one) raise no inotify event here.
_REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "ocfs2", "prl_fs"}
    | {"smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where it is mounted, and the file system's type."""

    point: str
    kind: str

    @property
    def remote(self) -> bool:
        """Whether others can change files here without this kernel noticing."""
        # fuseblk is a local disk (NTFS, exFAT); every other FUSE file system may be anything.
        return self.kind in _REMOTE or self.kind == "fuse" or self.kind.startswith(("nfs", "fuse."))


def mount_of(path: str, mountinfo: str | None = None) -> Mount:
    """Find the mount that holds an absolute path without symbolic links.

    Args:
        path: need not exist.
        mountinfo: text in the format of proc(5) mountinfo; read from the kernel if absent.
    """
    text = MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape") if mountinfo is None else mountinfo
    best = Mount("/", "unknown")
    for line in text.splitlines():
        fields, _, described = line.partition(" - ")
        point = _unescape(fields.split(" ")[4])
        below = path == point or path.startswith(point.rstrip("/") + "/")
        # Of several mounts on one point the last one covers the others.
        if below and len(point) >= len(best.point):
            best = Mount(point, described.split(" ", 1)[0])
    return best


def _unescape(field: str) -> str:
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, character)
    return field
