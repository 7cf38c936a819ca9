"""Who does the writing for the commands that look after a tree: the running daemon when asked, or else this process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from staticwado_daemon.cli.options import warn

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.dicom.uids import UID
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.log import Level
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.requests import Answer

_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ByDaemon:
    """The running daemon, which is asked."""

    root: Path
    running: bool = True

    def store(
        self, files: Sequence[Path], on_progress: Callable[[Mapping[str, int]], None] = lambda _: None
    ) -> "list[Answer]":
        """Have files stored although their content is known."""
        from staticwado_daemon.pipeline import requests

        return requests.ask(self.root, "create", files, on_progress, warn, options=requests.Options(force=True))

    def renew(self, studies: "Sequence[UID]") -> None:
        """Have everything of these studies made anew that is computed from records, and the list of all studies."""
        from staticwado_daemon.archive.target import Target
        from staticwado_daemon.pipeline import requests

        if studies:
            requests.ask(self.root, "renew", on_wait=warn, targets=[str(Target(each)) for each in studies])
        requests.ask(self.root, "index", on_wait=warn)


@dataclass(frozen=True, slots=True)
class ByLine:
    """A line of this process's own."""

    storage: "Storage"
    line: "Line"
    journal: "Journal"
    running: bool = False

    def store(
        self, files: Sequence[Path], on_progress: Callable[[Mapping[str, int]], None] = lambda _: None
    ) -> "list[Answer]":
        """Have files stored although their content is known.

        Raises:
            StaticwadoError: if not all of them could be taken.
        """
        from collections import Counter

        from staticwado_daemon.errors import StaticwadoError
        from staticwado_daemon.inbound.named import look
        from staticwado_daemon.pipeline.create import create
        from staticwado_daemon.pipeline.requests import Answer
        from staticwado_daemon.pipeline.space import Space

        storage, counts = self.storage, Counter[str]()

        def count(outcome: str) -> None:
            counts[outcome] += 1
            on_progress(counts)

        space = Space(storage.root, storage.minimum_free_bytes, storage.minimum_free_inodes)
        inputs = (look(each, force=True) for each in files)
        created = create(self.line, self.journal, space, inputs, lambda receipt: count(receipt.outcome))
        if created.failure:
            raise StaticwadoError(created.failure)
        return [*map(Answer.of, created.receipts)]

    def renew(self, studies: "Sequence[UID]") -> None:
        """Have everything of these studies made anew that is computed from records, and the list of all studies.

        Raises:
            StaticwadoError: if the disk refuses some of it.
        """
        self.line.renew(studies)
        self.line.reindex()
        number = self.line.flush()
        while not self.line.is_flushed(number):
            self.line.pump(_WAIT_SECONDS)


@contextmanager
def hands(storage: "Storage", level: "Level") -> Iterator[ByDaemon | ByLine]:
    """Who may write to a tree now; a daemon that runs, or a line that is started for as long as the context lasts.

    Raises:
        ConfigError: if the root can't be written to.
    """
    from staticwado_daemon.cli.assembly import line_or_daemon

    with line_or_daemon(storage, level) as opened:
        yield ByDaemon(storage.root) if opened is None else ByLine(storage, *opened)
