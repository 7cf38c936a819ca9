"""Disks that stop, refuse or remember: what stands in for the one that the store writes to."""

import errno
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk


class Killed(BaseException):
    """The process would not have got any further."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a disk was asked for."""

    name: str
    paths: tuple[Path, ...]
    data: bytes = b""

    def sweeps(self) -> bool:
        """Whether it only removes what nobody needs any more."""
        return self.name in ("unlink", "remove_tree") and f"/{layout.STAGING}/" in str(self.paths[0])


class Interposed(Disk):
    """Every call goes through `around`.

    Nothing is ever synced: what is written stays written when a process is killed, and takes less time so.

    Attributes:
        exchanges: whether two names can swap what they stand for.
    """

    exchanges = True

    def around(self, call: Call, do: Callable[[], None]) -> None:
        """Do a call, unless something else becomes of it."""
        self.asked(call)
        do()

    def asked(self, call: Call) -> None:
        """Take note of a call that is to be done."""

    def write(self, path: Path, parts: Iterable[bytes | memoryview]) -> None:
        data = b"".join(parts)
        self.around(Call("write", (path,), data), partial(super().write, path, [data]))

    def mkdir(self, path: Path) -> None:
        self.around(Call("mkdir", (path,)), partial(super().mkdir, path))

    def rename(self, path: Path, target: Path) -> None:
        self.around(Call("rename", (path, target)), partial(super().rename, path, target))

    def exchange(self, one: Path, other: Path) -> None:
        if not self.exchanges:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.around(Call("exchange", (one, other)), partial(super().exchange, one, other))

    def unlink(self, path: Path) -> None:
        self.around(Call("unlink", (path,)), partial(super().unlink, path))

    def remove_tree(self, path: Path) -> None:
        self.around(Call("remove_tree", (path,)), partial(super().remove_tree, path))

    def utime(self, path: Path, second: int) -> None:
        self.around(Call("utime", (path,)), partial(super().utime, path, second))

    def syncfs(self, _: int) -> None:
        self.around(Call("syncfs", ()), lambda: None)


def by_half(call: Call) -> None:
    """Do so much of a call as may have been done when it didn't come to its end."""
    if call.name == "write":
        call.paths[0].write_bytes(call.data[: len(call.data) // 2])
    elif call.name == "remove_tree":
        for path in [path for path in call.paths[0].rglob("*") if path.is_file()][::2]:
            path.unlink()


class Plain(Interposed):
    """Is of the kind where an exchange takes several steps."""

    exchanges = False


class Stopping(Interposed):
    """From a given call on there are none any more, as after a kill -9 in the midst of it."""

    def __init__(self, last: int | None = None, *, exchanges: bool = True) -> None:
        self.calls: list[Call] = []
        self.last = last
        self.exchanges = exchanges

    def around(self, call: Call, do: Callable[[], None]) -> None:
        if len(self.calls) == self.last:
            by_half(call)
        if self.last is not None and len(self.calls) >= self.last:
            raise Killed
        self.calls.append(call)
        do()


class Killing(Interposed):
    """Kills the process that it is in after a number of calls."""

    def __init__(self, last: int) -> None:
        self.left = last

    def around(self, call: Call, do: Callable[[], None]) -> None:
        super().around(call, do)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


class Refusing(Interposed):
    """Refuses one call, counted from when it is `armed`, after having done it by half."""

    def __init__(self, number: int, code: int, refused: Callable[[], None]) -> None:
        self.armed = False
        self.call: Call | None = None
        self._left = number
        self._code = code
        self._refused = refused

    def around(self, call: Call, do: Callable[[], None]) -> None:
        if self.armed and self._left == 0:
            self.armed = False
            self.call = call
            by_half(call)
            self._refused()
            raise OSError(self._code, os.strerror(self._code), *map(str, call.paths[:1]))
        self._left -= self.armed
        do()


class Unwilling(Interposed):
    """Refuses everything for as long as there is a file that says with which error; works in other processes, too."""

    def __init__(self, error: Path) -> None:
        self.error = error

    def around(self, call: Call, do: Callable[[], None]) -> None:
        try:
            code = int(self.error.read_text())
        except FileNotFoundError:
            do()
        else:
            raise OSError(code, os.strerror(code), *map(str, call.paths[:1]))


class Recording(Interposed):
    """Remembers every call that was done; a sync may be made to fail.

    Attributes:
        failed: how many calls had been done when the sync failed.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failed: int | None = None
        self._fails_in: int | None = None

    def fail_sync(self, number: int) -> None:
        """Let the next sync but so many fail."""
        self._fails_in = number

    def around(self, call: Call, do: Callable[[], None]) -> None:
        if call.name == "syncfs" and self._fails_in is not None:
            self._fails_in -= 1
            if self._fails_in == -1:
                self.failed = len(self.calls)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        do()
        self.calls.append(call)
