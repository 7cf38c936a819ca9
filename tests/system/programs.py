"""The `staticwado` program as a user meets it: started as a process, judged by what it prints and returns."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATICWADO = (sys.executable, "-m", "staticwado_daemon.cli")
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds; generous, because a loaded machine is slow and a hang is the only thing to be found here."""


def staticwado(*arguments: str | Path, expect: int = 0) -> str:
    """Run a command to its end and return its standard output; the exit code must be the expected one."""
    command = [*STATICWADO, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=_environment(), cwd=REPOSITORY
    )
    said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == expect, f"{command[3]} … returned {done.returncode}, not {expect}:\n{said}"
    return done.stdout


def create(root: Path, paths: Sequence[Path], *options: str, expect: int = 0) -> dict[str, Any]:
    """`create --json`: the one object that it prints."""
    printed = staticwado("create", *paths, "--root", root, "--json", *options, expect=expect)
    answer: dict[str, Any] = json.loads(printed)
    return answer


def status(config: Path) -> dict[str, Any]:
    """`status --json` of the daemon with this configuration."""
    answer: dict[str, Any] = json.loads(staticwado("-c", config, "status", "--json"))
    return answer


def write_config(directory: Path, static: Mapping[str, Any], daemon: Mapping[str, Any]) -> Path:
    """A configuration file; times are short, so that a test waits for the program and not for its clock."""
    directory.mkdir(parents=True, exist_ok=True)
    quick = {"settleSeconds": 0.2, "reconcileSeconds": 2, "stateDir": str(directory / "state"), "workers": 2}
    path = directory / "static-wado.json5"
    path.write_text(json.dumps({"staticWadoConfig": dict(static), "daemonConfig": {**quick, **daemon}}, indent=2))
    return path


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that is stopped by SIGTERM at the end, and must then end well by itself."""
    log = config.with_name("daemon.log")
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            [*STATICWADO, "-c", str(config), "run"], stdout=output, stderr=output, env=_environment(), cwd=REPOSITORY
        )
    try:
        yield daemon
        assert daemon.poll() is None, f"the daemon ended by itself with {daemon.returncode}\n{_tail(log)}"
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(timeout=60)
        assert code == 0, f"SIGTERM ended the daemon with {code}\n{_tail(log)}"
    except BaseException as error:
        error.add_note(f"the daemon's log ends with:\n{_tail(log)}")
        raise
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait(timeout=30)


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE, pause: float = 0.1) -> Any:
    """Ask again and again until the answer is true; return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(pause)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def _environment() -> dict[str, str]:
    """Without a home, so that nobody's own configuration is found."""
    return {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]
