"""What the commands that give original files back have in common: what is meant, what is told, what is logged."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import STDOUT, Common, warn
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.archive.target import Target
    from staticwado_daemon.dicom.uids import Identity
    from staticwado_daemon.operate.export.files import Exported
    from staticwado_daemon.operate.export.originals import Originals
    from staticwado_daemon.operate.export.selection import Version

_FAILED, _PARTLY = 1, 3


version_option = click.option(
    "--version",
    "versions",
    metavar="CONTENT|all",
    default="published",
    help="A kept version, by the first digits of the content that `staticwado explain` shows, or all of them.  "
    "[default: the published one]",
)
reconstruct_option = click.option(
    "--reconstruct",
    is_flag=True,
    help="Make a file of what is stored where the original can't be given back: adopted from static-wado, or stored "
    "lossy.",
)


def begin(common: Common, texts: Iterable[str], versions: str, *, reconstruct: bool) -> "Session":
    """Find everything that is meant, before anything is written.

    Raises:
        ConfigError: if a text is no target, or there is no tree.
        StaticwadoError: if there is no such thing in the tree.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.adopt import part10
    from staticwado_daemon.operate.export.originals import Originals
    from staticwado_daemon.operate.export.selection import check_wish, select
    from staticwado_daemon.operate.targets import resolve

    log.configure(common.log_level("warning"))
    root = common.configuration().storage().root
    require_tree(root)
    check_wish(versions)
    targets = {text: resolve(root, [text]) for text in texts}
    selected = {text: select(root, found, versions) for text, found in targets.items()}
    return Session(root, Originals(root, part10.rebuild if reconstruct else None), targets, selected)


@dataclass(slots=True)
class Session:
    """One export: what is meant by each text of the command line, and what became of it so far.

    Attributes:
        root: of the tree.
        originals: of it.
        targets: what each text means.
        selected: the versions of that.
        exported: what became of each file.
        places: where files were written.
    """

    root: Path
    originals: "Originals"
    targets: "Mapping[str, tuple[Target, ...]]"
    selected: "Mapping[str, list[Version]]"
    exported: "list[Exported]" = field(default_factory=list)
    places: list[Path] = field(default_factory=list)

    def uid(self, text: str) -> str:
        """The UID that a text stands for."""
        target = self.targets[text][0]
        return target.instance or target.series or target.study

    def to_folder(self, directory: Path, texts: Iterable[str], name: "Callable[[Identity], str]") -> None:
        """Write the files of some texts into a folder."""
        from staticwado_daemon.operate.export.files import to_folder
        from staticwado_daemon.operate.export.selection import named

        self._require_outside(directory)
        chosen = named(self._versions(texts), name)
        self._keep(directory, to_folder(self.originals, chosen, directory), len(chosen))

    def to_medium(self, directory: Path | None) -> None:
        """Write everything onto a medium."""
        from staticwado_daemon.operate.export.media import to_medium
        from staticwado_daemon.operate.export.selection import by_series, named

        if directory is None and len(self.targets) > 1:
            raise ConfigError("a medium of several targets needs a name: give -o DIR")
        directory = directory or Path.cwd() / self.uid(next(iter(self.targets)))
        self._require_outside(directory)
        chosen = named(self._versions(self.targets), by_series)
        self._keep(directory, to_medium(self.originals, chosen, directory), len(chosen))

    def to_archive(self, path: Path) -> None:
        """Write everything into a zip archive, on standard output if it is called `-`."""
        from staticwado_daemon.operate.export.files import new_file
        from staticwado_daemon.operate.export.selection import by_series, named
        from staticwado_daemon.operate.export.zipped import to_zip

        chosen = named(self._versions(self.targets), by_series)
        if path == STDOUT:
            if sys.stdout.isatty():
                raise ConfigError("a zip archive is nothing for a terminal: redirect the output, or give --zip FILE")
            self._keep(path, to_zip(self.originals, chosen, sys.stdout.buffer.write), len(chosen))
            sys.stdout.buffer.flush()
            return
        self._require_outside(path)
        if os.path.lexists(path):
            raise ConfigError(f"{path} is there already: move it away, or name another file")
        with new_file(path) as file:
            self._keep(path, to_zip(self.originals, chosen, file.write), len(chosen))

    def _require_outside(self, place: Path) -> None:
        """Refuse to write into the tree: only its writer may, and what stands there is served."""
        if place.resolve().is_relative_to(self.root.resolve()):
            raise ConfigError(f"{place} is inside the tree in {self.root}: name a place outside of it")

    def _versions(self, texts: Iterable[str]) -> "list[Version]":
        """Those of all the texts, each once: a study and one of its series may both be named."""
        every = {(each.record.identity, each.record.content): each for text in texts for each in self.selected[text]}
        return [every[key] for key in sorted(every)]

    def _keep(self, place: Path, results: "Iterator[Exported]", total: int) -> None:
        from staticwado_daemon.cli.watching import bar
        from staticwado_daemon.units import size

        self.places.append(place)
        done = 0
        with bar(total) as show:
            for each in results:
                self.exported.append(each)
                done += each.length
                show(advance=1, description=size(done))

    @contextmanager
    def audited(self) -> Iterator[None]:
        """Log the export, also one that is interrupted; where the log can't be written, say so."""
        from staticwado_daemon.archive import audit

        try:
            yield
        finally:
            good = [each for each in self.exported if not each.problem]
            counts = {
                "instances": len(good),
                "failed": len(self.exported) - len(good),
                "bytes": sum(each.length for each in good),
            }
            targets = [str(each) for found in self.targets.values() for each in found]
            try:
                audit.append(self.root, audit.Entry("export", targets, counts))
            except OSError as error:
                warn(f"this export isn't in the audit log {self.root / audit.PATH}: {error.strerror}")

    def finish(self, *, as_json: bool, quiet: bool = False) -> int:
        """Tell what became of everything, and return the exit code."""
        from staticwado_daemon.cli.outcomes import first_of, print_object

        problems = [each for each in self.exported if each.problem]
        if as_json:
            print_object(_to_json(self.exported, self.places))
        else:
            told = [f"{click.style(f'{each.identity.instance}:', fg='red')} {each.problem}" for each in problems]
            for line in first_of(told):
                click.echo(line, err=True)
            click.echo(self._summary(), err=quiet)
        if not problems:
            return 0
        return _PARTLY if len(problems) < len(self.exported) else _FAILED

    def _summary(self) -> str:
        from staticwado_daemon.cli.outcomes import counted
        from staticwado_daemon.units import size

        good = [each for each in self.exported if not each.problem]
        present = sum(each.present for each in good)
        reconstructed = sum(each.reconstructed for each in good)
        written = sum(each.length for each in good if not each.present)
        place = "standard output" if self.places == [STDOUT] else ", ".join(map(str, self.places))
        if good and present == len(good):
            was = "was" if present == 1 else "were"
            return f"{place}: {counted(present, 'file')} {was} there already, byte for byte as received"
        words = [f"{place}: {counted(len(good) - present, 'file')}, {size(written)}"]
        words.append("byte for byte as received" if not reconstructed else f"{reconstructed:,} of them reconstructed")
        if present:
            words.append(f"{present:,} more {'was' if present == 1 else 'were'} there already")
        return ", ".join(words)


def _to_json(exported: "Iterable[Exported]", places: Iterable[Path]) -> str:
    import json

    listed = [
        {
            "studyInstanceUID": each.identity.study,
            "seriesInstanceUID": each.identity.series,
            "sopInstanceUID": each.identity.instance,
            "content": each.content,
            "path": None if each.path is None else str(each.path),
            "bytes": each.length,
            "present": each.present,
            "reconstructed": each.reconstructed,
            "problem": each.problem,
        }
        for each in exported
    ]
    failed = sum(each["problem"] is not None for each in listed)
    counts = {"exported": len(listed) - failed, "failed": failed}
    return json.dumps({"to": [str(place) for place in places], **counts, "instances": listed})
