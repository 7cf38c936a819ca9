"""The `staticwado` program as a user meets it: started as a process, judged by what it prints and returns."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staticwado_daemon.cli import execute
from staticwado_daemon.cli import staticwado as cli

STATICWADO = (sys.executable, "-m", "staticwado_daemon.cli")
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds; generous, because a loaded machine is slow and a hang is the only thing to be found here."""


def staticwado(*arguments: str | Path, expect: int | None = 0) -> str:
    """Run a command to its end and return its standard output; the exit code must be the expected one, if any is."""
    command = [*STATICWADO, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=_environment(), cwd=REPOSITORY
    )
    said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert expect in {None, done.returncode}, f"{command[3]} … returned {done.returncode}, not {expect}:\n{said}"
    return done.stdout


def told(*words: str | Path, expect: int = 0) -> str:
    """What a command prints that only reads or asks; without a process of its own, because there are many."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = execute(cli, "staticwado", [*map(str, words)])
    assert code == expect, f"{words} returned {code}, not {expect}:\n{printed.getvalue()}"
    return printed.getvalue()


def status(config: Path) -> dict[str, Any]:
    """`status --json`."""
    answer: dict[str, Any] = json.loads(told("-c", config, "status", "--json"))
    return answer


def create(root: Path, paths: Sequence[Path], *options: str, expect: int | None = 0) -> dict[str, Any]:
    """`create --json`: the one object that it prints."""
    printed = staticwado("create", *paths, "--root", root, "--json", *options, expect=expect)
    answer: dict[str, Any] = json.loads(printed)
    return answer


def write_config(directory: Path, static: Mapping[str, Any], daemon: Mapping[str, Any]) -> Path:
    """A configuration file; times are short, so that a test waits for the program and not for its clock."""
    directory.mkdir(parents=True, exist_ok=True)
    quick = {"settleSeconds": 0.2, "reconcileSeconds": 2, "stateDir": str(directory / "state"), "workers": 2}
    path = directory / "static-wado.json5"
    path.write_text(json.dumps({"staticWadoConfig": dict(static), "daemonConfig": {**quick, **daemon}}, indent=2))
    return path


@dataclass(frozen=True, slots=True)
class Place:
    """A directory with a daemon's configuration, its log, an inbound folder and a tree."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "static-wado.json5"

    @property
    def log(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def inbound(self) -> Path:
        return self.directory / "inbound"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def status(self) -> dict[str, Any]:
        """`status --json`."""
        return status(self.config)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon."""

    config: Path
    process: subprocess.Popen[bytes]

    def status(self) -> dict[str, Any]:
        """`status --json`."""
        return status(self.config)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Ask again and again until the answer is true; the daemon must not end meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"the daemon ended by itself with {self.process.returncode}"
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}; {self.status()}"
            time.sleep(0.05)

    def wait_until_idle(self) -> None:
        """Wait until nothing is waiting and every summary is written."""
        self.until(lambda: self.status()["idle"], "idle")


def start(
    config: Path, *options: str, command: Sequence[str] = STATICWADO, **environment: str
) -> subprocess.Popen[bytes]:
    """Start a daemon in a process group of its own, by which its workers are known; its log stands beside `config`."""
    with config.with_name("daemon.log").open("ab") as output:
        return subprocess.Popen(
            [*command, "-c", str(config), *options, "run"],
            stdout=output,
            stderr=output,
            env=_environment() | environment,
            cwd=REPOSITORY,
            start_new_session=True,
        )


@contextmanager
def started(
    config: Path, *options: str, command: Sequence[str] = STATICWADO, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of which nothing is left at the end; the end of its log goes with a failure."""
    process = start(config, *options, command=command, **environment)
    try:
        yield process
    except BaseException as error:
        log = config.with_name("daemon.log").read_text(errors="replace")
        error.add_note(f"the daemon's log ends with:\n{log[-4000:]}")
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@contextmanager
def running(config: Path) -> Iterator[Daemon]:
    """A daemon that is stopped by SIGTERM at the end, and must then end well and leave no process behind."""
    with started(config) as process:
        yield Daemon(config, process)
        assert process.poll() is None, f"the daemon ended by itself with {process.returncode}"
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        assert code == 0, f"SIGTERM ended the daemon with {code}"
        assert is_gone(process.pid), "the daemon left processes behind"


def is_gone(group: int, seconds: float = 10.0) -> bool:
    """Whether no process of a group is left within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _environment() -> dict[str, str]:
    """Without a home, so that nobody's own configuration is found."""
    return {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}
