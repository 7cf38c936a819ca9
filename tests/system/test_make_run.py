"""What the README promises a stranger: `make run` in a fresh clone shows studies in OHIF, and leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import corpus
from tests.system import dcmtk
from tests.system.programs import REPOSITORY
from tests.system.servers import free_port

INSTALLING_SECONDS = 360.0
"""pip and npm fetch some 250 MB."""

ANSWERING_SECONDS = 30.0
ENDING_SECONDS = 15.0
DICOM_PORT = 11112
"""Where the DICOM node listens if nobody else does."""

NOT_A_STRANGERS = re.compile(r"VIRTUAL_ENV.*|PYTHON.*|XDG_.*|MAKE.*|MFLAGS|PIP_CACHE_DIR|npm_config_cache|GIT_.*")
"""Variables of whoever runs the tests. How pip and npm reach their registries is the machine's and stays."""

ENDED_BY_CTRL_C = {0, -signal.SIGINT, 128 + signal.SIGINT}
"""GNU make waits for its recipe and then dies of the signal itself; a shell calls that 130."""


@dataclass(frozen=True, slots=True)
class Clone:
    """A fresh clone, with the empty home of the stranger who made it."""

    directory: Path
    home: Path

    def environment(self, **changes: str) -> dict[str, str]:
        """What a new terminal would have."""
        kept = {name: value for name, value in os.environ.items() if not NOT_A_STRANGERS.fullmatch(name)}
        environments = {Path(sys.prefix, "bin")} if sys.prefix != sys.base_prefix else set()
        path = [entry for entry in kept["PATH"].split(os.pathsep) if Path(entry) not in environments]
        # pip asks rustc, where there is one, for its version, and rustup's wrapper then makes itself a home.
        rustup = str(self.home.with_name("rustup"))
        return {**kept, "PATH": os.pathsep.join(path), "HOME": str(self.home), "RUSTUP_HOME": rustup, **changes}


@dataclass(frozen=True, slots=True)
class Running:
    """A command of the clone, in a process group of its own, as a terminal starts it."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """What it has printed so far, to either stream."""
        return self.output.read_text(errors="replace")

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Ask again and again; the first answer that is true."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            assert self.process.poll() is None, f"it ended with {self.process.returncode} before {what}"
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.2)
        return answer

    def printed_url(self) -> str | None:
        """The address that it invites to."""
        found = re.search(r"look at them on\s+(http://\S+)", self.said())
        return found[1] if found else None

    def printed_dicom(self) -> tuple[str, int]:
        """The AE title and the port that it invites to send to."""
        found = re.search(r"storescu -aec (\S+) 127\.0\.0\.1 (\d+) FILE", self.said())
        assert found, "no line on sending"
        return found[1], int(found[2])

    def press_ctrl_c(self) -> int:
        """What a terminal does on Ctrl-C; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(ENDING_SECONDS)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The files that git tracks, as they are now, and nothing else."""
    directory = tmp_path_factory.mktemp("stranger")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True
    )
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        (directory / "staticwado" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, directory / "staticwado" / name, follow_symlinks=False)
    (directory / "home").mkdir()
    return Clone(directory / "staticwado", directory / "home")


@contextmanager
def started(clone: Clone, *command: str | Path, **environment: str) -> Iterator[Running]:
    output = clone.directory.with_name("output.log")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=clone.directory,
            env=clone.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    running = Running(process, output)
    try:
        yield running
    except BaseException as error:
        error.add_note(f"it printed:\n{running.said()[-4000:]}")
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(ENDING_SECONDS)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """A port of this machine that somebody listens on: us, if it was free."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def test_make_run_in_a_fresh_clone(clone: Clone, tmp_path: Path) -> None:
    port = free_port()
    another = corpus.mr_study(tmp_path / "copied", instances=2, series=1)
    sent = corpus.ct_study(tmp_path / "sent", instances=3, series=1, size=128)
    with started(clone, "make", "run", f"PORT={port}") as make:
        url = make.until(make.printed_url, INSTALLING_SECONDS, "an address is printed")
        assert url == f"http://127.0.0.1:{port}/"
        page = make.until(lambda: _get(url), ANSWERING_SECONDS, "the printed address answers")
        assert "<title>OHIF" in page.text
        assert "/dicomweb" in _fetched(f"{url}app-config.js").text
        samples = make.until(lambda: _studies(url), ANSWERING_SECONDS, "a sample study is listed")
        assert another.uid not in samples
        for path in another.files:
            shutil.copy(path, clone.directory / "dicom")
        make.until(lambda: _studies(url).get(another.uid) == 2, ANSWERING_SECONDS, "the copied study is listed")
        title, dicom_port = make.printed_dicom()
        dcmtk.run("storescu", "-aec", title, "127.0.0.1", dicom_port, *sent.files)
        make.until(lambda: _studies(url).get(sent.uid) == 3, ANSWERING_SECONDS, "the study that was sent is listed")
        assert make.press_ctrl_c() in ENDED_BY_CTRL_C
        assert _wait_for(lambda: not _processes_of(clone.directory)), _processes_of(clone.directory)
        assert "Traceback" not in make.said()
    assert sorted(clone.home.iterdir()) == []


def test_without_npm_everything_but_the_viewer_works(clone: Clone) -> None:
    subprocess.run(
        ["make", ".venv/gateway.stamp"],
        cwd=clone.directory,
        env=clone.environment(),
        timeout=INSTALLING_SECONDS,
        check=True,
    )
    shutil.rmtree(clone.directory / ".run", ignore_errors=True)
    port = free_port()
    python = clone.directory / ".venv/bin/python"
    with taken(DICOM_PORT), started(clone, python, ".ci/demo.py", str(port), PATH="/nonexistent") as demo:
        url = demo.until(demo.printed_url, ANSWERING_SECONDS, "an address is printed")
        assert url == f"http://127.0.0.1:{port}/dicomweb/studies"
        assert "npm isn't installed" in demo.said()
        demo.until(lambda: _studies(f"http://127.0.0.1:{port}/"), ANSWERING_SECONDS, "a sample study is listed")
        title, dicom_port = demo.printed_dicom()
        assert dicom_port != DICOM_PORT
        demo.until(lambda: _echoes(title, dicom_port), ANSWERING_SECONDS, "C-ECHO is answered")
        assert demo.press_ctrl_c() in ENDED_BY_CTRL_C
        assert _wait_for(lambda: not _processes_of(clone.directory)), _processes_of(clone.directory)
    assert sorted(clone.home.iterdir()) == []


def _get(url: str) -> httpx.Response | None:
    """An answer, or None while nobody listens there."""
    try:
        return _fetched(url)
    except httpx.TransportError:
        return None


def _fetched(url: str) -> httpx.Response:
    return httpx.get(url, timeout=30, trust_env=False).raise_for_status()


def _studies(url: str) -> dict[str, int]:
    """The studies listed, and their numbers of instances."""
    answer = _get(f"{url}dicomweb/studies")
    listed = answer.json() if answer else []
    return {study["0020000D"]["Value"][0]: study["00201208"]["Value"][0] for study in listed}


def _echoes(title: str, port: int) -> bool:
    return not dcmtk.run("echoscu", "-q", "-aec", title, "127.0.0.1", port, expect=None)


def _processes_of(directory: Path) -> list[str]:
    """The command lines of all processes that work in this directory or below, wherever they belong otherwise."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(directory):
                found.append(os.fsdecode((process / "cmdline").read_bytes().replace(b"\0", b" ")))
    return found


def _wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + ENDING_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
