"""The options that every command takes, before or after its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration
    from staticwado_daemon.log import Level

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any] | click.Command)

INTERRUPTED = 130
"""The exit code: 128 + SIGINT, as a shell counts."""

STDOUT = Path("-")
"""What a path is that stands for standard output."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@dataclass(slots=True)
class Common:
    """What the shared options of one command line say; where an option is given twice, the last one counts."""

    config: Path | None = None
    root: Path | None = None
    verbose: bool = False
    as_json: bool = False
    settings: dict[str, Any] = field(default_factory=dict)  # by configuration key
    warnings: list[str] = field(default_factory=list)

    def configuration(self, options: Mapping[str, Any] | None = None) -> "Configuration":
        """Load the configuration below this command line, and say on stderr what of it has no effect.

        Args:
            options: the command's own options by configuration key; None means not given.

        Raises:
            ConfigError: if the configuration can't be obeyed.
        """
        from staticwado_daemon.config import check, load

        root = str(self.root) if self.root else None
        configuration = load(self.config, {"rootDir": root, **self.settings, **(options or {})})
        unused = list(check.warnings(configuration.document)) if configuration.document else []
        if unused:
            more = f" (and {len(unused) - 1} more: see `staticwado config check`)" if len(unused) > 1 else ""
            warn(unused[0] + more)
        return configuration

    def log_level(self, default: "Level" = "info") -> "Level":
        """How much to log: everything with -v."""
        return "debug" if self.verbose else default


def shared(*root_options: str) -> Callable[[AnyCommand], AnyCommand]:
    """Give a command `-c`, `--root` (also under the other names given) and `-v`, collected in a `Common`."""

    def decorate(command: AnyCommand) -> AnyCommand:
        decorators = (
            click.option(
                "-v",
                "--verbose",
                is_flag=True,
                default=None,
                expose_value=False,
                callback=_keep,
                help="Log everything, foreign libraries' words too: these can name patients.",
            ),
            click.option(
                "--root",
                *root_options,
                "root",
                metavar="ROOT",
                type=_FOLDER,
                expose_value=False,
                callback=_keep,
                help="The DICOMweb tree (staticWadoConfig.rootDir).",
            ),
            click.option(
                "-c",
                "--config",
                metavar="FILE",
                type=_FILE,
                expose_value=False,
                callback=_keep,
                help="Configuration; without it the first of ./, ~/ and /etc/static-wado.json5.",
            ),
        )
        for each in decorators:
            command = each(command)
        return command

    return decorate


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    common = context.ensure_object(Common)
    if value is not None and parameter.name:
        setattr(common, parameter.name, value)


class AbsolutePath(click.Path):
    """A path, made absolute by where the command was typed: not by where a configuration file stands."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        """Check and convert one path; an empty one, as an unset variable gives it, is none and not where one stands."""
        if value == "":
            self.fail("it is empty", parameter, context)
        text = super().convert(value, parameter, context)
        return Path(str(text)).absolute()


class PathOrStdout(AbsolutePath):
    """A path, or `-` for standard output."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        """Check and convert one path."""
        return STDOUT if str(value) == "-" else super().convert(value, parameter, context)


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    default=None,
    expose_value=False,
    callback=_keep,
    help="Print one JSON object.",
)
"""For commands with more to say than fits a handful of parameters: it is kept in their `Common`."""

ohif_option = click.option(
    "--ohif",
    metavar="DIR",
    type=AbsolutePath(exists=True, file_okay=False),
    help="An unpacked OHIF `dist` folder to serve on /.",
)

# Who may not read the tree is told so by what reads it, and `doctor` tells more.
_FOLDER = AbsolutePath(file_okay=False, readable=False)
_FILE = AbsolutePath(dir_okay=False)


def warn(sentence: str) -> None:
    """Say one sentence on stderr."""
    click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {sentence}", err=True)
