"""What a worker can't do, even when it is told to; and what it still can."""

import ctypes
import errno
import io
import logging
import os
import pickle
import resource
import shutil
import signal
import socket
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
from staticwado_daemon.archive.store import Stage
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import answers, confine, ingest
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.staged import Unfinished
from staticwado_daemon.pipeline.workers import WorkerLostError, WorkerProcesses

PATIENCE = 60.0
MEMORY = 1 << 30
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
    with WorkerProcesses(1, Rules("none", Limits()), MEMORY, _obedient, place / "staging") as started:
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
    with WorkerProcesses(1, Rules("none", Limits()), MEMORY, _obedient_without_landlock, place / "staging") as workers:
        outcomes = _try(workers, place, list(FORBIDDEN))
    held = {name for name, outcome in outcomes.items() if outcome == "PermissionError"}
    assert {"open a TCP socket", "run a program", "fork", "change a mode", "cut", "signal the daemon"} <= held
    assert outcomes["write beside staging"] == ALLOWED


def test_without_a_filter_landlock_still_holds(place: Path) -> None:
    with WorkerProcesses(1, Rules("none", Limits()), MEMORY, _obedient_without_filter, place / "staging") as workers:
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
        WorkerProcesses(1, Rules("none", Limits()), MEMORY, _obedient, place / "staging") as workers,
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
    with WorkerProcesses(1, Rules("none", Limits()), MEMORY, _limits, place / "staging") as workers:
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


def test_an_answer_can_name_no_function() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, ("echo owned",)

    with pytest.raises(Corrupt):
        answers.unpack(pickle.dumps([Evil()]), [_told("x")], Path("d"))


@pytest.mark.parametrize("answer", [b"", b"junk", pickle.dumps(None), pickle.dumps([]), pickle.dumps(["x"])])
def test_what_is_no_answer_is_none(answer: bytes) -> None:
    with pytest.raises(Corrupt):
        answers.unpack(answer, [_told("x")], Path("d"))


def test_an_answer_speaks_of_its_own_source(tmp_path: Path) -> None:
    mine, other = _told("mine"), _told("other")
    receipt = Receipt(mine.path, mine.stamp, "ignored", "not a DICOM file")
    assert answers.unpack(answers.pack([receipt]), [mine], tmp_path) == [receipt]
    with pytest.raises(Corrupt):
        answers.unpack(answers.pack([receipt]), [other], tmp_path)


def test_answers_are_pickled_as_values_of_known_classes_only() -> None:
    pickled = answers.pack([Unfinished("later", incomplete=False)])
    with pytest.raises(pickle.UnpicklingError):
        answers._ValueReader(io.BytesIO(pickled.replace(b"Unfinished", b"Uncommoned"))).load()
