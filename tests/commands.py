"""docs/commands.md, made from the commands themselves: `python -m tests.commands` writes it."""

from collections.abc import Iterator
from pathlib import Path

import click

from staticwado_daemon.cli import CHAPTERS, dicomwebscp_command
from staticwado_daemon.cli.server import dicomwebserver_command

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

_BEGINNING = """\
# Commands

`staticwado COMMAND -h` explains each with examples. Every command takes `-c FILE` and `--root ROOT`, before or after
its name. With `--json`, where there is one, stdout holds nothing but one JSON object; progress and complaints go to
stderr. A command that changes the tree asks the daemon to do it where one runs, and else does it itself.

Exit codes: 0 all good, 1 failed, 2 usage or configuration, 3 partly (some files were rejected; of `verify`: some damage
is left; of `doctor`: something needs attention), 130 ended by Ctrl-C.
"""

_END = """
Entry points with static-wado's names: `mkdicomweb PATH…` is `staticwado create`, and its other commands are those of
the same name here; `dicomwebscp` is `staticwado scp`, and `dicomwebscp cstore AE STUDYUID…` is `staticwado send`;
`dicomwebserver` is the embedded server on its own. [Coming from static-wado](migration.md) has all of its options.
"""


def page() -> str:
    """The page as it has to be."""
    lines = [_BEGINNING]
    for chapter, commands in CHAPTERS.items():
        lines += [
            f"## {chapter}",
            "",
            "| command | | |",
            "|---|---|---|",
            *(row for each in commands for row in _rows(each)),
            "",
        ]
    return "\n".join(lines).rstrip("\n") + "\n" + _END


def _rows(command: click.Command, before: str = "staticwado") -> Iterator[str]:
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _rows(each, f"{before} {command.name}")
        return
    context = click.Context(command)
    arguments = " ".join(each.make_metavar(context) for each in command.params if isinstance(each, click.Argument))
    name = f"{before} {command.name} {arguments}".strip().replace("|", "\\|").replace("...", "…")
    json = "`--json`" if any("--json" in each.opts for each in command.params) else ""
    yield f"| `{name}` | {json} | {command.get_short_help_str(200)} |"


if __name__ == "__main__":
    assert dicomwebserver_command.name in _END
    assert dicomwebscp_command.name in _END
    PAGE.write_text(page(), encoding="utf-8")
