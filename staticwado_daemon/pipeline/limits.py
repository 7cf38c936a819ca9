"""What a worker may use of the machine, and what it keeps of what it has used."""

import resource
from contextlib import suppress
from pathlib import Path

from staticwado_daemon import libc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT_BYTES = 32 * 1024 * 1024  # glibc takes no more for the second of the two

_OPEN_FILES = 64
"""A worker has its pipe, its log, a source and what it writes open at a time; libraries being loaded are a few more."""

_FIRST_TO_GO = "500"
"""Short of memory, the kernel shall end a worker, whose task is tried again, before the daemon (proc(5))."""


def limit(memory: int) -> None:
    """Limit this process for the rest of its life to so many bytes of data (RLIMIT_DATA), and to no core dump.

    The size of files has no limit: a frame may be as large as the file that it comes from.
    """
    with suppress(OSError):  # where /proc isn't what it should be, all processes are equal
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    _limit(resource.RLIMIT_DATA, memory)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, value: int) -> None:
    """Set a resource limit of this process, unless there is a lower one."""
    _, most = resource.getrlimit(what)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(what, (value, value))


def keep_freed_memory() -> None:
    """Let the C library keep what is freed: the next instance needs as much, and fresh pages cost a millisecond."""
    with suppress(OSError):  # other C libraries than glibc have no such setting
        libc.call("mallopt", _M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.call("mallopt", _M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)
