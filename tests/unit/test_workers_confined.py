"""What a worker can't do, even when it is told to; and what it still can."""

import ctypes
import errno
import logging
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from staticwado_daemon import log
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import confine, ingest
from staticwado_daemon.pipeline import workers as module
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.staged import Unfinished
from staticwado_daemon.pipeline.workers import WorkerLostError, WorkerProcesses

RULES = Rules(Images(Choices("none")), Limits())
PATIENCE = 60.0
MEMORY = 1 << 30
LONGEST = 1 << 20
ALLOWED = "allowed"

LIBC = ctypes.CDLL(None, use_errno=True)

Deed = Callable[[Path], object]


def _new_file(path: Path) -> None:
    path.write_bytes(b"x")


def _stage(path: Path) -> None:
    Stage(path / "task" / "0").write("instance/frames/1.mht", [b"frame"])
    shutil.rmtree(path / "task")


def _fork(_path: Path) -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def _link(path: Path) -> None:
    os.link(path / "outside" / "mine", path / "staging" / "link")


def _signal(_path: Path) -> None:
    os.kill(os.getppid(), 0)


def _signal_thread(_path: Path) -> None:
    parent = os.getppid()
    if LIBC.syscall(234, parent, parent, 0) != 0:  # tgkill on x86_64
        raise PermissionError


def _limit(_path: Path) -> None:
    resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))


def _keep_root() -> None:
    """Succeeds if there is one left, but for those to read and write others' files."""
    with Path("/proc/self/status").open() as status:
        held = {name: int(value, 16) for name, value in (line.split()[:2] for line in status if line.startswith("Cap"))}
    if not (held["CapEff:"] | held["CapPrm:"] | held["CapInh:"]) & ~0b110:
        raise PermissionError


def _set_user_id(path: Path) -> None:
    os.close(os.open(path / "staging" / "program", os.O_WRONLY | os.O_CREAT, 0o4755))


def _set_user_id_by_number(path: Path) -> None:
    how = struct.pack("=QQQ", os.O_WRONLY | os.O_CREAT, 0o4755, 0)
    if LIBC.syscall(437, -100, os.fsencode(path / "staging" / "program"), how, len(how)) < 0:  # openat2
        raise PermissionError


def _by_number(number: int, *arguments: object) -> None:
    """Call the kernel by a number of x86_64."""
    if LIBC.syscall(number, *arguments) < 0 and ctypes.get_errno() == errno.EPERM:
        raise PermissionError


def _thread(_path: Path) -> None:
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()


FORBIDDEN: dict[str, Deed] = {
    "open a TCP socket": lambda _: socket.socket(),
    "open a UNIX socket": lambda _: socket.socket(socket.AF_UNIX),
    "make a pair of sockets": lambda _: socket.socketpair(),
    "run a program": lambda _: subprocess.run(["/bin/true"], check=False),
    "become a program": lambda _: _checked(LIBC.execv(b"/bin/true", None)),
    "fork": _fork,
    "signal the daemon": _signal,
    "signal a thread of the daemon": _signal_thread,
    "limit the daemon": _limit,
    "read the daemon's limits": lambda _: _by_number(302, os.getppid(), resource.RLIMIT_FSIZE, None, None),
    "put the daemon last": lambda _: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19),
    "put everything last": lambda _: os.setpriority(os.PRIO_USER, 0, 19),
    "bind the daemon to a processor": lambda _: os.sched_setaffinity(os.getppid(), {0}),
    "schedule the daemon": lambda _: os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0)),
    "delay the daemon's disk": lambda _: _by_number(251, 1, os.getppid(), 3 << 13),
    "move the daemon's memory": lambda _: _by_number(256, os.getppid(), 8, b"\1", b"\1"),
    "drop the daemon's memory": lambda _: _by_number(440, 0, None, 0, 0, 0),
    "keep rights of root": lambda _: _keep_root(),
    "make a program that runs as its owner": _set_user_id,
    "make such a program another way": _set_user_id_by_number,
    "write beside staging": lambda path: _new_file(path / "outside" / "new"),
    "write above staging": lambda path: _new_file(path / "new"),
    "overwrite": lambda path: _new_file(path / "outside" / "mine"),
    "append": lambda path: (path / "outside" / "mine").open("ab"),
    "cut": lambda path: os.truncate(path / "outside" / "mine", 0),
    "remove": lambda path: (path / "outside" / "mine").unlink(),
    "rename": lambda path: (path / "outside" / "mine").rename(path / "outside" / "yours"),
    "steal": lambda path: (path / "outside" / "mine").rename(path / "staging" / "mine"),
    "link": _link,
    "make a symbolic link in staging": lambda path: (path / "staging" / "link").symlink_to("/etc"),
    "make a FIFO in staging": lambda path: os.mkfifo(path / "staging" / "fifo"),
    "make a directory": lambda path: (path / "outside" / "directory").mkdir(),
    "change a mode": lambda path: (path / "outside" / "mine").chmod(0o777),
    "change an owner": lambda path: os.chown(path / "outside" / "mine", 0, 0),
    "change a time": lambda path: os.utime(path / "outside" / "mine"),
    "set an attribute": lambda path: os.setxattr(path / "outside" / "mine", "user.x", b"y"),
    "keep memory that counts for nobody": lambda _: os.memfd_create("x"),
    "mount": lambda _: _checked(LIBC.unshare(0x00020000)),
}
PERMITTED: dict[str, Deed] = {
    "read a file anywhere": lambda path: (path / "outside" / "mine").read_bytes(),
    "list a directory": lambda path: list((path / "outside").iterdir()),
    "write and sweep in staging": lambda path: _stage(path / "staging"),
    "start a thread": _thread,
    "import a module": lambda _: __import__("this_is_not_there_but_searched_for", fromlist=["x"]),
    "read its own limits": lambda _: resource.prlimit(0, resource.RLIMIT_DATA),
    "log": lambda _: sys.stderr.write(""),
}
FATES: dict[str, Deed] = {
    "segfault": lambda _: ctypes.string_at(0),
    "SIGKILL": lambda _: signal.raise_signal(signal.SIGKILL),
    "abort": lambda _: os.abort(),
    "exit": lambda _: os._exit(3),
}


def _checked(result: int) -> None:
    if result:
        raise PermissionError


def _do_as_told(sources: Sequence[Source], directory: Path, _rules: Rules) -> list[Receipt]:
    """Stands in for ingesting inside the worker: does what the file's name says and reports how that went."""
    done = []
    for source in sources:
        try:
            ({**FORBIDDEN, **PERMITTED, **FATES}[source.path.name])(directory)
            outcome = ALLOWED
        except ModuleNotFoundError:
            outcome = ALLOWED
        except OSError as error:
            # Landlock words "not from there to here" as between two disks, upon which files are copied.
            outcome = "PermissionError" if error.errno == errno.EXDEV else type(error).__name__
        done.append(Receipt(source.path, source.stamp, "rejected", outcome))
    return done


def _obedient() -> None:
    ingest.ingest_batch = _do_as_told  # type: ignore[assignment]


def _obedient_without_landlock() -> None:
    confine._landlock_version = lambda: 0
    _obedient()


def _obedient_without_filter() -> None:
    confine._architecture = lambda: None
    _obedient()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine")
    (tmp_path / "staging").mkdir()
    return tmp_path


@pytest.fixture
def workers(place: Path) -> Iterator[WorkerProcesses]:
    with WorkerProcesses(1, RULES, MEMORY, _obedient, place / "staging") as started:
        yield started


def _told(name: str) -> Source:
    return Source(Path(name), Stamp(0, 0, 0, 0))


def _try(workers: WorkerProcesses, place: Path, names: Sequence[str]) -> dict[str, str | None]:
    results = workers.submit([_told(name) for name in names], place).result(PATIENCE)
    return {result.path.name: result.reason for result in results if isinstance(result, Receipt)}


def test_the_kernel_holds_a_worker_to_its_job(workers: WorkerProcesses, place: Path) -> None:
    assert confine.shortcomings() == ()
    before = sorted(place.rglob("*"))
    outcomes = _try(workers, place, list(FORBIDDEN))
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "PermissionError"} == {}
    assert len(outcomes) == len(FORBIDDEN)
    assert sorted(place.rglob("*")) == before
    assert (place / "outside" / "mine").read_text() == "mine"


def test_its_job_it_can_do(workers: WorkerProcesses, place: Path) -> None:
    assert _try(workers, place, list(PERMITTED)) == dict.fromkeys(PERMITTED, ALLOWED)


def test_without_landlock_the_filter_still_holds(place: Path) -> None:
    with WorkerProcesses(1, RULES, MEMORY, _obedient_without_landlock, place / "staging") as workers:
        outcomes = _try(workers, place, list(FORBIDDEN))
    held = {name for name, outcome in outcomes.items() if outcome == "PermissionError"}
    assert {"open a TCP socket", "run a program", "fork", "change a mode", "cut", "signal the daemon"} <= held
    assert {"limit the daemon", "link", "make a FIFO in staging", "make a symbolic link in staging"} <= held
    assert outcomes["write beside staging"] == ALLOWED


def test_without_a_filter_landlock_still_holds(place: Path) -> None:
    with WorkerProcesses(1, RULES, MEMORY, _obedient_without_filter, place / "staging") as workers:
        outcomes = _try(workers, place, [name for name in FORBIDDEN if name != "become a program"])
    held = {name for name, outcome in outcomes.items() if outcome == "PermissionError"}
    assert {"run a program", "write beside staging", "overwrite", "remove", "link", "signal the daemon"} <= held
    assert outcomes["open a UNIX socket"] == ALLOWED


def test_what_the_kernel_lacks_is_said_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "_landlock_version", lambda: 0)
    monkeypatch.setattr(confine, "_has_filters", lambda: False)
    paths, calls = confine.shortcomings()
    assert "Landlock" in paths
    assert "CONFIG_SECCOMP_FILTER" in calls
    with (
        capture_logs() as logged,
        WorkerProcesses(1, RULES, MEMORY, _obedient, place / "staging") as workers,
    ):
        _try(workers, place, ["log"])
        _try(workers, place, ["log"])
    assert [entry["reason"] for entry in logged if entry["event"] == "workers_less_confined"] == [paths, calls]


def test_an_unknown_machine_is_said_to_have_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine.platform, "machine", lambda: "riscv64")
    (told,) = confine.shortcomings()
    assert "riscv64" in told


def test_a_staging_directory_that_was_replaced_is_written_to_by_another_worker(
    workers: WorkerProcesses, place: Path
) -> None:
    deed = "write and sweep in staging"
    assert _try(workers, place, [deed]) == {deed: ALLOWED}
    shutil.rmtree(place / "staging")
    assert _try(workers, place, [deed]) == {deed: "FileNotFoundError"}
    (place / "staging").mkdir()
    assert _try(workers, place, [deed]) == {deed: ALLOWED}


@pytest.mark.parametrize("fate", FATES)
def test_a_death_is_the_failure_of_its_task_alone(workers: WorkerProcesses, place: Path, fate: str) -> None:
    with pytest.raises(WorkerLostError):
        workers.submit([_told(fate)], place).result(PATIENCE)
    assert _try(workers, place, ["log"]) == {"log": ALLOWED}


def _limits() -> None:
    """Reports the limits of the process that it stands in, and whether it may leave a core behind."""

    def tell(sources: Sequence[Source], _directory: Path, _rules: Rules) -> list[Unfinished]:
        limits = [resource.getrlimit(which) for which in (resource.RLIMIT_DATA, resource.RLIMIT_CORE)]
        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        preferred = Path("/proc/self/oom_score_adj").read_text().strip()
        return [Unfinished(repr((limits, dumpable, preferred)), incomplete=False) for _ in sources]

    ingest.ingest_batch = tell  # type: ignore[assignment]


def test_a_worker_has_limits_and_leaves_no_core(place: Path) -> None:
    with WorkerProcesses(1, RULES, MEMORY, _limits, place / "staging") as workers:
        (told,) = workers.submit([_told("x")], place).result(PATIENCE)
    assert isinstance(told, Unfinished)
    assert told.reason == repr(([(MEMORY, MEMORY), (0, 0)], 0, "500"))


def test_a_process_without_sockets_logs_to_journald_by_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_fields: str) -> None:
        raise PermissionError

    handler = log._JournalHandler()
    handler._journal = SimpleNamespace(sendv=refuse)
    record = logging.makeLogRecord({"msg": '{"event": "ingest_failed", "level": "error"}'})
    handler.handle(record)
    assert capsys.readouterr().err == "<3>ingest_failed\n"


def _endless() -> None:
    """Stands for a worker that has been taken over and wants the main process's memory."""
    module.pack = lambda _: bytes(2 * LONGEST)


def test_an_answer_that_is_too_long_is_not_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BESIDES", LONGEST)
    with WorkerProcesses(1, RULES, MEMORY, _endless, place / "staging") as workers:
        with pytest.raises(Corrupt, match="too long"):
            workers.submit([_told("log")], place).result(PATIENCE)
        monkeypatch.setattr(module, "MOST_BESIDES", 4 * LONGEST)
        with pytest.raises(Corrupt, match="doesn't match"):
            workers.submit([_told("log")], place).result(PATIENCE)


def _half_an_answer() -> None:
    """Stands for a worker that dies while it answers."""

    def begin_and_die(_results: Sequence[Receipt]) -> bytes:
        (pipe,) = (each for each in Path("/proc/self/fd").iterdir() if _is_the_pipe(each))
        os.write(int(pipe.name), struct.pack("!i", 100) + b"half")
        os._exit(1)

    module.pack = begin_and_die


def _is_the_pipe(descriptor: Path) -> bool:
    try:
        return int(descriptor.name) > 2 and stat.S_ISSOCK(descriptor.stat().st_mode)
    except OSError:
        return False


def test_half_an_answer_is_none(place: Path) -> None:
    with (
        WorkerProcesses(1, RULES, MEMORY, _half_an_answer, place / "staging") as workers,
        pytest.raises(Corrupt, match="cut off"),
    ):
        workers.submit([_told("log")], place).result(PATIENCE)
