"""The command line: `staticwado` with its sub-commands, and the names that static-wado's users know.

Exit codes: 0 all good, 1 failed, 2 usage or configuration, 3 partly (some inputs were rejected), 130 interrupted.
Modules that take long to load (pydicom, structlog, rich ...) are imported inside the commands, so that `--help` is
there at once.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from staticwado_daemon.cli.interrupts import interrupts_end_it

with interrupts_end_it():
    import click

    from staticwado_daemon import __version__
    from staticwado_daemon.cli.adopt import adopt
    from staticwado_daemon.cli.audit import audit
    from staticwado_daemon.cli.config import config
    from staticwado_daemon.cli.create import create
    from staticwado_daemon.cli.doctor import doctor
    from staticwado_daemon.cli.echo import echo
    from staticwado_daemon.cli.explain import explain
    from staticwado_daemon.cli.export import export
    from staticwado_daemon.cli.find import find
    from staticwado_daemon.cli.group import group
    from staticwado_daemon.cli.index import index
    from staticwado_daemon.cli.instance import instance
    from staticwado_daemon.cli.metadata import metadata
    from staticwado_daemon.cli.nginx import nginx_config
    from staticwado_daemon.cli.options import CONTEXT, INTERRUPTED, shared
    from staticwado_daemon.cli.part10 import part10
    from staticwado_daemon.cli.pull import pull
    from staticwado_daemon.cli.rebuild import rebuild
    from staticwado_daemon.cli.rejected import rejected
    from staticwado_daemon.cli.remove import delete, reject, undo
    from staticwado_daemon.cli.rendered import rendered
    from staticwado_daemon.cli.run import run
    from staticwado_daemon.cli.scp import scp
    from staticwado_daemon.cli.send import cstore, send
    from staticwado_daemon.cli.server import dicomwebserver_command
    from staticwado_daemon.cli.status import status
    from staticwado_daemon.cli.thumbnail import thumbnail
    from staticwado_daemon.cli.verify import verify
    from staticwado_daemon.errors import ConfigError, StaticwadoError

_FAILED = 1
_USAGE = 2


class _InOrder(click.Group):
    """A group whose help lists the commands as they are wanted, not by the alphabet."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)


class _InChapters(_InOrder):
    """A group whose help lists the commands by what one wants to do."""

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for chapter, commands in CHAPTERS.items():
            with formatter.section(chapter):
                rows = [(f"{each.name:<{width}}", each.get_short_help_str(formatter.width)) for each in commands]
                formatter.write_dl(rows)


CHAPTERS = {
    "Every day": (run, create, status, explain, rejected, doctor),
    "The DICOM network": (scp, send, find, pull, echo),
    "What is in the tree": (export, part10, rendered, delete, reject, undo, audit),
    "Keeping it whole": (verify, rebuild, metadata, thumbnail, index, group),
    "Setting up": (config, nginx_config, adopt),
    "static-wado's names": (instance,),
}
"""Every command of `staticwado`, in the order of its help and of docs/commands.md."""


@click.group(cls=_InChapters, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@shared()
def staticwado() -> None:
    """Turn folders of DICOM into a static DICOMweb tree that a web server shows to OHIF."""


for _command in (each for _chapter in CHAPTERS.values() for each in _chapter):
    staticwado.add_command(_command)


class _OneByDefault(_InOrder):
    """A group whose first command need not be said: `mkdicomweb FILES...`, `dicomwebscp`."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if self._is_for_first(arguments):
            arguments = [next(iter(self.commands)), *arguments]
        return super().parse_args(context, arguments)

    def _is_for_first(self, arguments: list[str]) -> bool:
        word = self._first_word(arguments)
        return word is not None and word not in self.commands

    def _first_word(self, arguments: list[str]) -> str | None:
        """Find the first argument that is neither an option nor an option's value."""
        options = [each for command in (self, *self.commands.values()) for each in command.params]
        valued = {name for each in options if isinstance(each, click.Option) and not each.is_flag for name in each.opts}
        previous = ""
        for argument in arguments:
            if previous not in valued and not argument.startswith("-"):
                return argument
            previous = argument
        return None


class _ReceiveByDefault(_OneByDefault):
    """A group whose first command needs no word at all."""

    def _is_for_first(self, arguments: list[str]) -> bool:
        about_itself = {"-h", "--help", "-V", "--version"} & set(arguments)
        return not about_itself and self._first_word(arguments) not in self.commands


@click.group(
    cls=_OneByDefault,
    context_settings=CONTEXT,
    subcommand_metavar="PATH… | COMMAND [ARGS]...",
    epilog="`mkdicomweb create --help` explains the options for PATH….",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@shared()
def mkdicomweb_command() -> None:
    """Put DICOM files, and folders of them, into a static DICOMweb tree."""


for _command in (create, index, part10, instance, group, metadata, thumbnail, delete, reject, undo):
    mkdicomweb_command.add_command(_command)


@click.group(
    cls=_ReceiveByDefault,
    context_settings=CONTEXT,
    subcommand_metavar="[COMMAND] [ARGS]...",
    epilog="`dicomwebscp` alone is `staticwado scp`; `dicomwebscp scp --help` explains its options.",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@shared()
def dicomwebscp_command() -> None:
    """Receive objects by DICOM and answer queries: the node."""


for _command in (scp, cstore):
    dicomwebscp_command.add_command(_command)


def execute(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are one sentence on stderr."""
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        if error.format_message().startswith("Usage:"):
            error.show()  # no complaint but the help, which is what a group says when no command is named
        else:
            _complain(name, _sentence(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter's own last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except StaticwadoError as error:
        _complain(name, str(error))
        return _USAGE if isinstance(error, ConfigError) else _FAILED
    except OSError as error:
        _complain(name, _of_the_system(error))
        return _FAILED
    return code if isinstance(code, int) else 0


def _of_the_system(error: OSError) -> str:
    """What the system complains of; and of what is the tree's own, who may."""
    from staticwado_daemon.archive import layout

    where = f"{error.filename}: " if error.filename else ""
    own = isinstance(error, PermissionError) and layout.PRIVATE in Path(str(error.filename)).parts
    return where + (error.strerror or str(error)) + (": run this as the tree's user, or as root" if own else "")


def _sentence(error: click.ClickException) -> str:
    """What click complains of, in our words' form, with the place where the command is explained."""
    message = error.format_message().strip().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} (see `{context.command_path} --help`)" if context else message


def _complain(name: str, sentence: str) -> None:
    click.echo(f"{click.style(f'{name}:', fg='red', bold=True)} {sentence}", err=True)


def _make_output_safe() -> None:
    """See to it that output is no reason to fail: where nobody listens, or the terminal lacks a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (to the end)
        elif stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _be(command: click.Command, name: str) -> NoReturn:
    heard = threading.Event()

    def interrupt(*_: object) -> NoReturn:
        heard.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        _make_output_safe()
        code = execute(command, name)
    except (Exception, KeyboardInterrupt):
        # A module that is interrupted while it is loaded may fail in any way.
        if not heard.is_set():
            raise
        code = INTERRUPTED
    # The publisher may still be finishing. Who won't wait for that and presses Ctrl-C again gets no story about it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def main() -> NoReturn:
    """Entry point `staticwado`."""
    _be(staticwado, "staticwado")


def mkdicomweb() -> NoReturn:
    """Entry point `mkdicomweb`: static-wado's name for `staticwado create`."""
    _be(mkdicomweb_command, "mkdicomweb")


def dicomwebscp() -> NoReturn:
    """Entry point `dicomwebscp`: static-wado's name for `staticwado scp`."""
    _be(dicomwebscp_command, "dicomwebscp")


def dicomwebserver() -> NoReturn:
    """Entry point `dicomwebserver`: static-wado's name for the embedded server."""
    _be(dicomwebserver_command, "dicomwebserver")
