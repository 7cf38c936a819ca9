"""Who does the writing for the commands that look after a tree: the running daemon when asked, or else this process."""

from abc import ABC, abstractmethod
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
    from staticwado_daemon.inbound.receipt import Receipt
    from staticwado_daemon.log import Level
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.requests import Answer, Command, Options

OnProgress = Callable[[Mapping[str, int]], None]


def _nobody(_: Mapping[str, int]) -> None:
    pass


class Hands(ABC):
    """Whoever may write to a tree now."""

    running = False
    """Whether that is a daemon, which has settings of its own."""

    @abstractmethod
    def store(self, files: Sequence[Path], on_progress: OnProgress = _nobody) -> "list[Answer]":
        """Have files stored although their content is known.

        Raises:
            StaticwadoError: if not all of them could be taken.
        """

    @abstractmethod
    def obey(
        self,
        command: "Command",
        targets: Sequence[str] = (),
        options: "Options | None" = None,
        on_progress: OnProgress = _nobody,
    ) -> "list[Answer]":
        """Do what a command says that is about what is in the tree; return when everything of it is written.

        Args:
            command: what is to be done; not "create" and "retry", which are about files that are to come in.
            targets: what of the tree it is about, see `pipeline.requests.Request`.
            options: how it is to be done.
            on_progress: told now and then how many instances have which outcome.

        Raises:
            StaticwadoError: if it can't be done, or not all of it be written.
        """

    def renew(self, studies: "Sequence[UID]") -> None:
        """Have everything of these studies made anew that is computed from records, and the list of all studies.

        Raises:
            StaticwadoError: if not all of it can be written.
        """
        from staticwado_daemon.archive.target import Target

        if studies:
            self.obey("renew", [str(Target(each)) for each in studies])
        self.obey("index")

    def set_aside(self, paths: Sequence[str]) -> None:
        """Have paths below the root moved out of the way, unless they are of use by now.

        Raises:
            StaticwadoError: if that isn't possible.
        """
        if paths:
            self.obey("aside", paths)

    def group(self, studies: "Sequence[UID]") -> None:
        """Have the record files and packs of studies merged into one each.

        Raises:
            StaticwadoError: if that isn't possible.
        """
        from staticwado_daemon.archive.target import Target

        if studies:
            self.obey("group", [str(Target(each)) for each in studies])


@dataclass(frozen=True, slots=True)
class _Daemon(Hands):
    """The running daemon, which is asked."""

    root: Path
    running = True

    def store(self, files: Sequence[Path], on_progress: OnProgress = _nobody) -> "list[Answer]":
        from staticwado_daemon.archive.audit import user
        from staticwado_daemon.pipeline import requests

        options = requests.Options(by=user(), force=True)
        return requests.ask(self.root, "create", files, on_progress, warn, options=options)

    def obey(
        self,
        command: "Command",
        targets: Sequence[str] = (),
        options: "Options | None" = None,
        on_progress: OnProgress = _nobody,
    ) -> "list[Answer]":
        from staticwado_daemon.pipeline import requests

        options = options or requests.NO_OPTIONS
        return requests.ask(self.root, command, (), on_progress, warn, targets=targets, options=options)


@dataclass(frozen=True, slots=True)
class _Line(Hands):
    """A line of this process's own."""

    storage: "Storage"
    line: "Line"
    journal: "Journal"

    def store(self, files: Sequence[Path], on_progress: OnProgress = _nobody) -> "list[Answer]":
        from collections import Counter

        from staticwado_daemon.cli.assembly import space_of
        from staticwado_daemon.errors import StaticwadoError
        from staticwado_daemon.inbound.named import look
        from staticwado_daemon.pipeline.create import create
        from staticwado_daemon.pipeline.requests import Answer

        counts = Counter[str]()

        def count(receipt: "Receipt") -> None:
            counts[receipt.outcome] += 1
            on_progress(counts)

        inputs = (look(each, force=True) for each in files)
        created = create(self.line, self.journal, space_of(self.storage), inputs, count)
        if created.failure:
            raise StaticwadoError(created.failure)
        return [*map(Answer.of, created.receipts)]

    def obey(
        self,
        command: "Command",
        targets: Sequence[str] = (),
        options: "Options | None" = None,
        on_progress: OnProgress = _nobody,  # noqa: ARG002 - here it is done at once
    ) -> "list[Answer]":
        from staticwado_daemon.pipeline import orders
        from staticwado_daemon.pipeline.requests import NO_OPTIONS, Request

        return orders.carry_out(self.line, Request("here", command, (), tuple(targets), options or NO_OPTIONS))


@contextmanager
def hands(storage: "Storage", level: "Level") -> Iterator[Hands]:
    """Whoever may write to a tree now: a daemon that runs, or a line that is started for as long as the context lasts.

    Raises:
        ConfigError: if the root can't be written to.
    """
    from staticwado_daemon.cli.assembly import line_or_daemon

    with line_or_daemon(storage, level) as opened:
        yield _Daemon(storage.root) if opened is None else _Line(storage, *opened)
