"""dcmtk's tools for the tests: the other side of an association, by somebody else's hand."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.listening import until_listening
from tests.system.servers import free_port

_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Storescp:
    """A running storescp, which writes down what it receives, bit for bit, and makes nothing durable."""

    port: int
    directory: Path

    def received(self) -> list[Path]:
        """The files that it wrote."""
        return sorted(path for path in self.directory.iterdir() if path.is_file())


def environment() -> dict[str, str]:
    """Without Nagle's algorithm, which costs 40 ms for each message where the peer delays its acknowledgements."""
    return {**os.environ, "TCP_NODELAY": "1"}


def program(name: str) -> str:
    """The path of one of dcmtk's tools; pynetdicom brings scripts with the same names, which may come first."""
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    assert found, f"{name} is missing: apt-get install dcmtk"
    return found


def run(name: str, *arguments: str | Path | int, expect: int | None = 0, seconds: float = 300.0) -> str:
    """Run one of dcmtk's tools to its end; everything that it prints."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        timeout=seconds,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert expect in {None, done.returncode}, f"{name} returned {done.returncode}, not {expect}:\n{said[-4000:]}"
    return said


@contextmanager
def storescp(directory: Path, *options: str, title: str = "WITNESS", port: int | None = None) -> Iterator[Storescp]:
    """Run a storescp that takes every transfer syntax it knows and writes into a new directory."""
    directory.mkdir(parents=True)
    port = port or free_port()
    command = [program("storescp"), "+xa", "+B", *options, "-aet", title, "-od", str(directory), str(port)]
    log = directory.with_name(f"{directory.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment())
    try:
        until_listening(port, process)
        yield Storescp(port, directory)
    except BaseException as error:
        error.add_note(f"storescp's log ends with:\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)
