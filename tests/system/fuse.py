"""A FUSE file system that shows another directory, for reading: what is written there raises no event here.

Speaks the kernel's protocol (fuse(4)) itself, as far as listing and reading need it.

Usage: python -m tests.system.fuse SOURCE MOUNTPOINT
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _INIT, _OPENDIR, _READDIR, _BATCH_FORGET = 1, 2, 3, 14, 15, 26, 27, 28, 42
_RELEASE, _FLUSH, _RELEASEDIR, _ACCESS = 18, 25, 29, 34

_IN_HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
_OUT_HEADER = struct.Struct("<IiQ")  # length, -errno, unique
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")  # node, generation, two times of validity: none, ask each time
_READ_IN = struct.Struct("<QQI")  # file handle, offset, size
_OPENED = struct.Struct("<QII")
_MAXIMUM_WRITE = 65536
_DIRECT_IO = 1


class _Server:
    """Answers requests about one directory; nodes are numbers for paths, in the order in which they were met."""

    def __init__(self, source: Path, device: int) -> None:
        self._device = device
        self._paths = [source, source]  # node 1 is the root
        self._nodes = {source: 1}
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            _INIT: self._init,
            _LOOKUP: self._lookup,
            _GETATTR: self._getattr,
            _OPEN: lambda *_: _OPENED.pack(0, _DIRECT_IO, 0),
            _OPENDIR: lambda *_: _OPENED.pack(0, 0, 0),
            _READ: self._read,
            _READDIR: self._readdir,
            **dict.fromkeys((_RELEASE, _FLUSH, _RELEASEDIR, _ACCESS), lambda *_: b""),
        }

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, _MAXIMUM_WRITE + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                raise
            _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
            if opcode in (_FORGET, _BATCH_FORGET):
                continue
            code, answer = self._answer(opcode, node, request[_IN_HEADER.size :])
            os.write(self._device, _OUT_HEADER.pack(_OUT_HEADER.size + len(answer), -code, unique) + answer)

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        if opcode not in self._answers:
            return errno.ENOSYS, b""
        try:
            return 0, self._answers[opcode](node, body)
        except OSError as error:
            return error.errno or errno.EIO, b""

    def _init(self, _: int, body: bytes) -> bytes:
        major, minor = struct.unpack_from("<II", body)
        return struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), 0, 0, 0, 0, _MAXIMUM_WRITE, 1, 0, 0, 0)

    def _lookup(self, node: int, body: bytes) -> bytes:
        path = self._paths[node] / os.fsdecode(body.rstrip(b"\0"))
        attributes = _attributes(path)
        if path not in self._nodes:
            self._nodes[path] = len(self._paths)
            self._paths.append(path)
        return _ENTRY.pack(self._nodes[path], 0, 0, 0, 0, 0) + attributes

    def _getattr(self, node: int, _: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + _attributes(self._paths[node])

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = _READ_IN.unpack_from(body)
        with self._paths[node].open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = _READ_IN.unpack_from(body)
        answer = b""
        for number, path in enumerate(sorted(self._paths[node].iterdir())[offset:], start=offset + 1):
            name = os.fsencode(path.name)
            status = path.lstat()
            entry = struct.pack("<QQII", status.st_ino, number, len(name), status.st_mode >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer


def _attributes(path: Path) -> bytes:
    status = path.lstat()
    times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    seconds, nanoseconds = ([divmod(time, 10**9)[part] for time in times] for part in (0, 1))
    owner = (status.st_uid, status.st_gid, 0, 4096, 0)
    sizes = (status.st_ino, status.st_size, status.st_blocks)
    return _ATTRIBUTES.pack(*sizes, *seconds, *nanoseconds, status.st_mode, status.st_nlink, *owner)


def main(source: Path, mount_point: Path) -> None:
    """Mount, say so, and serve until it is unmounted."""
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
    if libc.mount(b"elsewhere", os.fsencode(mount_point), b"fuse.elsewhere", 0, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    _Server(source, device).serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
