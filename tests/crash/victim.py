"""A daemon that may be killed at any moment, in a directory of its own with all that it needs."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staticwado_daemon.archive import layout
from staticwado_daemon.inbound.journal_reader import JournalReader
from tests.system.programs import Place, start, staticwado, write_config

READY_SECONDS = 5.0
"""From its start, after a crash, until a daemon says that it runs."""

READY_SHARE = 0.5
"""How many of those that will be killed are first waited for; the others may die while they start."""

LIFE_SECONDS = (0.1, 1.2)
"""How long they live then; in the middle of it they read, stage, commit and publish what has just come."""

PATIENCE = 120.0
ENDING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Site(Place):
    """A daemon's place, of which root and state directory may also stand somewhere else.

    `minimum` is how many bytes and inodes intake leaves free.
    """

    after_ingest: str = "keep"
    root_elsewhere: Path | None = None
    state_elsewhere: Path | None = None
    minimum: tuple[int, int] = (0, 0)

    @property
    def root(self) -> Path:
        return self.root_elsewhere or self.directory / "root"

    @property
    def state(self) -> Path:
        return self.state_elsewhere or self.directory / "state"

    @property
    def journal(self) -> Path:
        return self.state / "journal.sqlite"

    def prepare(self, **daemon: Any) -> "Site":
        """Make the folders and the configuration file."""
        self.inbound.mkdir(parents=True)
        inbound = {"dir": str(self.inbound), "afterIngest": self.after_ingest}
        daemon = {"inbound": [inbound], "stateDir": str(self.state), **daemon}
        least_bytes, least_inodes = self.minimum
        static = {"rootDir": str(self.root), "minFreeBytes": least_bytes, "minFreeInodes": least_inodes}
        write_config(self.directory, static, daemon)
        return self

    def deliver(self, source: Path) -> None:
        """Copy a file into the inbound folder, as users do it."""
        shutil.copyfile(source, self.inbound / source.name)

    def start(self) -> "Victim":
        """Start a daemon in a process group of its own."""
        return Victim(self, start(self.config), time.monotonic())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Show the end of the daemon's log with a failure, and leave no process behind."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"the daemon's log ends with:\n{self.log.read_text(errors='replace')[-4000:]}")
            raise
        finally:
            for process in processes_naming(self.config):
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Victim:
    """A running daemon with its workers and its publisher."""

    site: Site
    process: subprocess.Popen[bytes]
    started: float

    def live(self, seconds: float) -> None:
        """Let it work until this long after its start."""
        time.sleep(max(0.0, self.started + seconds - time.monotonic()))

    def kill(self) -> None:
        """SIGKILL to the whole process group: what a power cut is to processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(ENDING_SECONDS)
        self.until_gone()

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Wait for something while the daemon works."""

        def alive_and() -> Any:
            assert self.process.poll() is None, f"the daemon ended by itself with {self.process.returncode}"
            return condition()

        try:
            return wait_for(alive_and, what, seconds)
        except AssertionError as error:
            error.add_note(f"status: {self.site.status()}")
            raise

    def until_ready(self) -> None:
        """Wait until it says that it runs, which must be soon, as soon as a machine lets it that is busy otherwise."""
        crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        self.until(lambda: self.site.status()["running"], "ready", READY_SECONDS * crowd)

    def until_published(self, sources: int) -> None:
        """Wait until nothing waits and that many sources are in the tree."""

        def done() -> bool:
            now = self.site.status()
            return now["idle"] and now["published"] >= sources

        self.until(done, f"idle with {sources} published")

    def stop(self) -> None:
        """SIGTERM, upon which it must end well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(ENDING_SECONDS) == 0
        self.until_gone()

    def until_gone(self) -> None:
        """Wait until none of its processes is left."""
        wait_for(lambda: not self.members(), "the end of all its processes", ENDING_SECONDS)

    def members(self) -> list[int]:
        """Its processes that live, itself included."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, _, group = _stat(int(directory.name))[:3]
                if int(group) == self.process.pid and state != "Z":
                    found.append(int(directory.name))
        return found

    def publisher(self) -> int:
        """The one writer, known by the lock that it holds."""
        lock = (self.site.root / layout.LOCK).resolve()
        (found,) = (each for each in self._descendants() if lock in _open_files(each))
        return found

    def workers(self) -> list[int]:
        """The publisher's siblings."""
        publisher = self.publisher()
        parent = _parent(publisher)
        return [each for each in self._descendants() if each != publisher and _parent(each) == parent]

    def computes(self, process: int) -> bool:
        """Whether a process has the processor at this moment."""
        return _stat(process)[0] == "R"

    def _descendants(self) -> list[int]:
        return [each for each in self.members() if each != self.process.pid]


def through_kills(site: Site, sources: Sequence[Path], kills: int, seed: int) -> None:
    """Deliver the sources while the daemon is killed at random moments; then let the next one catch up."""
    chance = random.Random(seed)
    published = site.status()["published"] if site.root.exists() else 0
    with site.watched():
        for number in range(kills):
            portion = sources[number * len(sources) // kills : (number + 1) * len(sources) // kills]
            life = chance.uniform(*LIFE_SECONDS)
            victim = site.start()
            if chance.random() < READY_SHARE:
                victim.until_ready()
                life += time.monotonic() - victim.started
            for moment, source in zip(sorted(chance.uniform(0, life) for _ in portion), portion, strict=True):
                victim.live(moment)
                site.deliver(source)
            victim.live(life)
            victim.kill()
        victim = site.start()
        victim.until_ready()
        victim.until_published(published + len(sources))
        victim.stop()


def processes_naming(config: Path) -> list[int]:
    """The processes that were started with this configuration: main processes, which lead their groups."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(config) in (directory / "cmdline").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return found


def _stat(process: int) -> list[str]:
    """The fields of proc_pid_stat(5) after the program's name: state, parent, process group ..."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _parent(process: int) -> int:
    return int(_stat(process)[1])


def _open_files(process: int) -> set[Path]:
    files = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                files.add(descriptor.readlink())
    return files


def wait_for(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """Ask again and again; the first answer that is true."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return answer


def outcomes(site: Site, paths: Sequence[Path]) -> set[str]:
    """What the journal says became of these inbound files.

    A file that was stored, but whose receipt was lost with the daemon, is found to be its own duplicate.
    """
    journal = JournalReader(site.journal)
    try:
        return {str(journal.find(site.inbound / path.name)[0].outcome) for path in paths}
    finally:
        journal.close()


def exported(site: Site, directory: Path) -> Counter[bytes]:
    """The original files, as `export` gives them back."""
    studies = sorted(path.name for path in (site.root / "studies").iterdir() if path.is_dir())
    staticwado("-c", site.config, "export", *studies, "-o", directory)
    return Counter(path.read_bytes() for path in directory.rglob("*.dcm"))
