"""The machine below the daemon: its limits, its clock, its ports, its codecs and its locks."""

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from staticwado_daemon import libc
from staticwado_daemon.archive import gzipped
from staticwado_daemon.dicom import codecs
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.inbound.mounts import mount_of
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine
from staticwado_daemon.pipeline import confine

_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
_SPARE = 0.8
_FIRST_YEAR, _LAST_YEAR = 2024, 2100
_TIME_ERROR = 5  # adjtimex(2): the clock isn't synchronised
_TIMEX_BYTES = 512  # struct timex and to spare
_LISTENING = "0A"  # of /proc/net/tcp


def inotify(folders: Sequence[Path], watches: Path = _WATCHES) -> Finding:
    """Whether the kernel has enough watches for every directory below the inbound folders."""
    limit = int(watches.read_text(encoding="ascii"))
    watched = [each for each in folders if not mount_of(str(each.resolve())).remote]
    count = 0
    for path in watched:
        for _ in os.walk(path):
            count += 1
            if count > limit:
                break
    if count > limit * _SPARE:
        enough = max(2 * count, 2 * limit)
        return attention(
            f"{'more than ' if count > limit else ''}{min(count, limit):,} directories are to be watched and the "
            f"kernel has {limit:,} watches: write fs.inotify.max_user_watches={enough} to "
            "/etc/sysctl.d/60-staticwado.conf, then `sysctl --system`"
        )
    return fine(f"{count:,} {'directory' if count == 1 else 'directories'} to watch, {limit:,} watches")


def clock() -> Finding:
    """Whether the time is plausible, and kept by the network."""
    year = time.gmtime().tm_year
    if not _FIRST_YEAR <= year < _LAST_YEAR:
        return attention(f"the clock says {year}: set it, and let it be synchronised (timedatectl set-ntp true)")
    try:
        state = libc.call("adjtimex", ctypes.create_string_buffer(_TIMEX_BYTES))
    except OSError as error:
        what = f"the kernel doesn't say whether the clock is synchronised ({error.strerror})"
        raise OSError(error.errno, what) from error
    if state == _TIME_ERROR:
        return attention("the clock isn't synchronised: install systemd-timesyncd or chrony (timedatectl shows it)")
    return fine("synchronised")


def port(number: int, daemon: int | None, proc: Path = Path("/proc")) -> Finding:
    """Whether a port is free for the daemon's embedded server, or is its own.

    Args:
        number: of the TCP port.
        daemon: the main process, where it runs.
        proc: of the kernel.
    """
    sockets = _listeners(number, proc)
    if not sockets:
        return attention(f"nobody listens on port {number}: see the log") if daemon else fine(f"{number} is free")
    holder = _holder(sockets, proc)
    if daemon and (holder is None or daemon in _line_of(holder, proc)):
        return fine(f"{number} is the daemon's" if holder else f"{number} is in use (only root sees by whom)")
    who = (
        f"{(proc / str(holder) / 'comm').read_text().strip()} (process {holder})"
        if holder
        else "another user's process"
    )
    return attention(f"port {number} is held by {who}: end that, or choose another port in daemonConfig")


def _listeners(number: int, proc: Path) -> set[str]:
    """The inodes of the sockets that listen on a port, on whichever address."""
    found = set()
    for table in (proc / "net/tcp", proc / "net/tcp6"):
        if table.exists():
            rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
            found |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == number}
    return found


def _holder(sockets: set[str], proc: Path) -> int | None:
    """The process that has one of these sockets open, if we may see it."""
    wanted = {f"socket:[{inode}]" for inode in sockets}
    for directory in proc.glob("[0-9]*"):
        try:
            if any(str(each.readlink()) in wanted for each in (directory / "fd").iterdir()):
                return int(directory.name)
        except OSError:
            continue  # another user's, or gone
    return None


def _line_of(process: int, proc: Path) -> set[int]:
    """A process with all that it descends from."""
    line: set[int] = set()
    while process > 1 and process not in line:
        line.add(process)
        process = int((proc / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    return line


def codecs_work() -> Finding:
    """Whether each codec gives back what it was given."""
    broken = [name for name, works in _SELF_TESTS.items() if not _holds(works)]
    if broken:
        return attention(f"{', '.join(broken)} can't be coded and decoded: install the program again, in a new venv")
    return fine(", ".join(_SELF_TESTS))


def _holds(works: Callable[[], bool]) -> bool:
    try:
        return works()
    except Exception:  # noqa: BLE001 - a broken library fails in ways of its own
        return False


_IMAGE = (np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 7) % 4096
_DESCRIPTION = PixelDescription(
    rows=64,
    columns=64,
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    pixel_representation=0,
    photometric_interpretation="MONOCHROME2",
    planar_configuration=None,
    number_of_frames=1,
)


def _comes_back(encode: Callable[[Any], bytes | bytearray], transfer_syntax_uid: str) -> bool:
    return bool(np.array_equal(codecs.decode(bytes(encode(_IMAGE)), transfer_syntax_uid, _DESCRIPTION), _IMAGE))


_SELF_TESTS: dict[str, Callable[[], bool]] = {
    "HTJ2K": lambda: _comes_back(imagecodecs.htj2k_encode, "1.2.840.10008.1.2.4.201"),
    "JPEG-LS": lambda: _comes_back(imagecodecs.jpegls_encode, "1.2.840.10008.1.2.4.80"),
    "JPEG 2000": lambda: _comes_back(
        lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True),
        "1.2.840.10008.1.2.4.90",
    ),
    "JPEG lossless": lambda: _comes_back(imagecodecs.ljpeg_encode, "1.2.840.10008.1.2.4.70"),
    "gzip": lambda: gzipped.unpack(gzipped.pack(_IMAGE.tobytes())) == _IMAGE.tobytes(),
}


def locks() -> Finding:
    """Whether workers, which read what strangers send, can be locked up."""
    missing = confine.shortcomings()
    return (
        attention("; ".join(missing)) if missing else fine("Landlock and seccomp: workers write only where they stage")
    )
