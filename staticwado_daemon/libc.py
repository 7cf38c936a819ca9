"""Calls of the C library and of the kernel that Python's own library lacks: each succeeds or raises OSError."""

import ctypes
import errno
import os
import platform
import struct

_library = ctypes.CDLL(None, use_errno=True)
_library.syscall.restype = ctypes.c_long

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None
"""A number, an address of bytes, or none."""


def call(name: str, *arguments: Argument) -> int:
    """Call a function that returns -1 and sets errno where it fails.

    Raises:
        OSError: if it fails; ENOSYS if this machine's C library has no such function.
    """
    function = getattr(_library, name, None)
    if function is None:
        raise _error(errno.ENOSYS)
    return _checked(function(*map(_passed, arguments)))


def syscall(number: int, *arguments: Argument) -> int:
    """Call the kernel by the number that a call has on this machine (syscall(2)).

    Raises:
        OSError: if it fails.
    """
    return _checked(_library.syscall(*map(_passed, (number, *arguments))))


def machine() -> str:
    """Whose numbers `syscall` takes: "x86_64", "aarch64"; "" for a 32-bit Python, which has others on either."""
    return platform.machine() if struct.calcsize("P") == 8 else ""


def _passed(argument: Argument) -> Argument | ctypes.c_long:
    # Passed as an int, a number would fill half a register, and these functions look at all of it.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _checked(result: int) -> int:
    if result == -1:
        raise _error(ctypes.get_errno())
    return result


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
