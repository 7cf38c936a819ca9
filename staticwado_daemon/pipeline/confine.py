"""Confinement of a process that takes hostile files apart: what it can't do even when one has taken it over.

A worker needs to read files, to compute, to write below its staging directory and to answer through a pipe that it
already has. The kernel holds it to that, by two locks that no process can open again and that its threads inherit:

* Landlock (landlock(7)) knows paths: nothing can be created, written, cut, renamed, linked or removed outside one
  directory, where it may only make plain files and directories. Nothing is executed, no TCP port reached.
* A seccomp filter (seccomp(2)) knows system calls: no socket, no program, no new process, no hand on another one, and
  none of the calls by which Landlock's rules don't hold (attributes of files, io_uring).

Either is worth having without the other. Of root's capabilities only those to read and write others' files are left.
What this kernel can't do is said by `shortcomings`, not discovered by a failing worker. Reading isn't restricted:
inbound folders may be anywhere, and what is read can't be sent.
"""

import ctypes
import errno
import os
import platform
import stat
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from staticwado_daemon import libc

_log = structlog.get_logger(__name__)

_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38

_CAPABILITY_VERSION_3: Final = 0x20080522
_KEPT: Final = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

# linux/landlock.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_QUERY_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE_FILE = 1 << 0, 1 << 1
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SINCE_FIRST: Final = (
    _EXECUTE | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE
    | _MAKE_CHAR | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_BLOCK | _MAKE_SYM
)  # fmt: skip
_SINCE: Final = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
_IN_STAGING: Final = _WRITE_FILE | _TRUNCATE | _MAKE_DIR | _MAKE_REG | _REMOVE_DIR | _REMOVE_FILE
"""No links, devices or renames from one directory to another: whoever takes over what is staged trusts its names."""
_TCP: Final = 0b11
_TCP_SINCE: Final = 4
_SIGNALS_AND_ABSTRACT_SOCKETS: Final = 0b11
_SCOPES_SINCE: Final = 6

# linux/filter.h and linux/seccomp.h: the few instructions that the filter is made of
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_SECCOMP_MODE_FILTER: Final = 2
_CLONE_THREAD: Final = 0x00010000
_OPENAT2: Final = 437  # everywhere
_X32: Final = 0x40000000


@dataclass(frozen=True, slots=True)
class _Architecture:
    """How the kernel calls a machine's system calls: AUDIT_ARCH and the numbers.

    Attributes:
        makes_files: calls that make a file, each with the place of its mode among the arguments, from 0.
        denied: calls that a worker has no use for.
    """

    audit: int
    clone: int
    clone3: int
    prlimit64: int
    makes_files: tuple[tuple[int, int], ...]
    denied: tuple[int, ...]


# The same names in both: sockets; programs; other processes; attributes and length of files by name; what is no plain
# file; memory and queues that belong to no process; ways around the two locks; mounts and namespaces.
_ARCHITECTURES: Final = {
    "x86_64": _Architecture(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        prlimit64=302,
        makes_files=((2, 2), (257, 3), (85, 1)),  # open openat creat
        denied=(
            *(41, 53, 42, 49, 50, 43, 288),  # socket socketpair connect bind listen accept accept4
            *(59, 322, 57, 58),  # execve execveat fork vfork
            *(101, 310, 311, 438),  # ptrace process_vm_readv process_vm_writev pidfd_getfd
            *(62, 200, 424, 129, 297),  # kill tkill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo
            *(141, 251, 142, 144, 203, 314),  # setpriority ioprio_set sched_setparam ..scheduler ..affinity ..attr
            *(256, 279, 440, 448),  # migrate_pages move_pages process_madvise process_mrelease
            *(90, 91, 268, 452, 92, 93, 94, 260),  # chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
            *(188, 189, 190, 463, 197, 198, 199, 466),  # setxattr l.. f.. ..at, removexattr l.. f.. ..at
            *(132, 235, 261, 280, 76, 469),  # utime utimes futimesat utimensat truncate file_setattr
            *(88, 266, 86, 265, 133, 259),  # symlink symlinkat link linkat mknod mknodat
            *(319, 447, 29, 68, 64, 240),  # memfd_create memfd_secret shmget msgget semget mq_open
            *(425, 426, 427, 304),  # io_uring_setup io_uring_enter io_uring_register open_by_handle_at
            *(321, 298, 323, 248, 249, 250),  # bpf perf_event_open userfaultfd add_key request_key keyctl
            *(165, 166, 155, 161, 308, 272),  # mount umount2 pivot_root chroot setns unshare
        ),
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        prlimit64=261,
        makes_files=((56, 3),),  # openat
        denied=(
            *(198, 199, 203, 200, 201, 202, 242),  # socket socketpair connect bind listen accept accept4
            *(221, 281),  # execve execveat; fork and vfork are clone
            *(117, 270, 271, 438),  # ptrace process_vm_readv process_vm_writev pidfd_getfd
            *(129, 130, 424, 138, 240),  # kill tkill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo
            *(140, 30, 118, 119, 122, 274),  # setpriority ioprio_set sched_setparam ..scheduler ..affinity ..attr
            *(238, 239, 440, 448),  # migrate_pages move_pages process_madvise process_mrelease
            *(52, 53, 452, 55, 54),  # fchmod fchmodat fchmodat2 fchown fchownat
            *(5, 6, 7, 463, 14, 15, 16, 466),  # setxattr l.. f.. ..at, removexattr l.. f.. ..at
            *(88, 45, 469),  # utimensat truncate file_setattr
            *(36, 37, 33),  # symlinkat linkat mknodat
            *(279, 447, 194, 186, 190, 180),  # memfd_create memfd_secret shmget msgget semget mq_open
            *(425, 426, 427, 265),  # io_uring_setup io_uring_enter io_uring_register open_by_handle_at
            *(280, 241, 282, 217, 218, 219),  # bpf perf_event_open userfaultfd add_key request_key keyctl
            *(40, 39, 41, 51, 268, 97),  # mount umount2 pivot_root chroot setns unshare
        ),
    ),
}


def confine(writable: Path) -> None:
    """Lock this process up for the rest of its life; from now on it may write below one directory alone.

    Threads that run already stay free, so there must be none. Where the kernel lacks a lock the other one is
    used; without the directory, nothing may be written at all.
    """
    for lock in (_become_private, _give_up_capabilities, partial(_restrict_paths, writable), _restrict_calls):
        try:
            lock()
        except OSError as error:
            # The kernel has it and refuses it: less confined is better than no worker, but not to be kept quiet.
            _log.warning("worker_less_confined", reason=error.strerror)


def shortcomings() -> tuple[str, ...]:
    """Say what workers are not held to on this machine, one sentence each; nothing where all is well.

    Asks the kernel without changing anything.
    """
    found = []
    if not _landlock_version():
        found.append(
            "workers can write wherever their user can: this kernel has no Landlock; "
            "use Linux 5.13 or newer, with landlock in its lsm= boot parameter"
        )
    if _architecture() is None:
        found.append(f"workers can open sockets and run programs: there is no filter of calls for {platform.machine()}")
    elif not _has_filters():
        found.append("workers can open sockets and run programs: this kernel was built without CONFIG_SECCOMP_FILTER")
    return tuple(found)


def _landlock_version() -> int:
    """The ABI version of the kernel's Landlock; 0 if it has none, or something forbids to ask."""
    try:
        return libc.syscall(_CREATE_RULESET, None, 0, _QUERY_VERSION)
    except OSError:
        return 0


def _architecture() -> _Architecture | None:
    return _ARCHITECTURES.get(libc.machine())


def _has_filters() -> bool:
    """Whether the kernel has seccomp filters: then it stumbles over the missing one, else over the question."""
    try:
        libc.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    except OSError as error:
        return error.errno == errno.EFAULT
    return True


def _become_private() -> None:
    """Let nobody look into this process's memory, which holds patients, nor any program give it rights (prctl(2))."""
    libc.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _give_up_capabilities() -> None:
    """Keep of root's rights those to files alone, which Landlock limits: others set the clock or load drivers."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    buffer = ctypes.create_string_buffer(24)
    libc.call("capget", header, buffer)
    effective, permitted, *_ = struct.unpack("=6I", buffer.raw)
    libc.call("capset", header, struct.pack("=6I", effective & _KEPT, permitted & _KEPT, 0, 0, 0, 0))


def _restrict_paths(writable: Path) -> None:
    """Forbid every change of the file system that isn't below `writable`."""
    version = _landlock_version()
    if not version:
        return
    handled = _SINCE_FIRST
    for since, rights in _SINCE.items():
        handled |= rights if version >= since else 0
    # struct landlock_ruleset_attr; an older kernel takes zeros for what it doesn't know.
    attributes = struct.pack(
        "=QQQ",
        handled,
        _TCP if version >= _TCP_SINCE else 0,
        _SIGNALS_AND_ABSTRACT_SOCKETS if version >= _SCOPES_SINCE else 0,
    )
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        _permit(ruleset, writable, _IN_STAGING & handled)
        libc.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _permit(ruleset: int, writable: Path, rights: int) -> None:
    try:
        directory = os.open(writable, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # its disk is gone; whoever writes will say so
    try:
        # struct landlock_path_beneath_attr, which is packed
        beneath = struct.pack("=Qi", rights, directory)
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, beneath, 0)
    finally:
        os.close(directory)


def _restrict_calls() -> None:
    """Answer EPERM to the calls that a worker has no use for."""
    architecture = _architecture()
    if architecture is None or not _has_filters():
        return
    program = _program(architecture)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filters, 0, 0)


def _program(architecture: _Architecture) -> bytes:
    """The filter, in classic BPF: 8 bytes an instruction, jumps count instructions from the next one."""
    denied = _step(_RETURN, _ERROR | errno.EPERM)
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, architecture.audit, 1, 0),
        _step(_RETURN, _KILL),  # the numbers mean other calls there
        _step(_LOAD, _NUMBER),
        _step(_IF_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _KILL),
    ]
    # A filter can't look behind their pointers. Told that there are no such calls, libc takes clone and openat.
    for number in (architecture.clone3, _OPENAT2):
        steps += [_step(_IF_EQUAL, number, 0, 1), _step(_RETURN, _ERROR | errno.ENOSYS)]
    # Codecs have threads; a process of its own would outlive the limits of time and memory.
    steps += _where(architecture.clone, 0, _step(_IF_ANY_BIT, _CLONE_THREAD, 0, 1), denied)
    # Its own limits it may ask for; those of others it could set.
    steps += _where(architecture.prlimit64, 0, _step(_IF_EQUAL, 0, 0, 1), denied)
    for number, place in architecture.makes_files:
        # What it makes runs as nobody else for whoever starts it.
        steps += _where(number, place, _step(_IF_ANY_BIT, stat.S_ISUID | stat.S_ISGID, 1, 0), denied)
    for number in architecture.denied:
        steps += [_step(_IF_EQUAL, number, 0, 1), denied]
    return b"".join((*steps, _step(_RETURN, _ALLOW)))


def _where(number: int, place: int, condition: bytes, denied: bytes) -> list[bytes]:
    """Allow a call if a condition on one of its arguments holds, else deny it; the condition skips a step if not."""
    return [
        _step(_IF_EQUAL, number, 0, 4),
        _step(_LOAD, _FIRST_ARGUMENT + 8 * place),
        condition,
        _step(_RETURN, _ALLOW),
        denied,
    ]


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
