"""`staticwado config`: what holds, what is wrong, and a file to begin with."""

import itertools
import json
import os
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from staticwado_daemon.cli.options import STDOUT, Common, PathOrStdout, shared
from staticwado_daemon.errors import StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration
    from staticwado_daemon.config.schema import Group, Key


@click.group()
@shared()
def config() -> None:
    """Show, check or begin a configuration."""


_SHOW_EXAMPLES = """\b
Examples:
  staticwado config show
  staticwado config show --json | jq .daemonConfig
"""
_CHECK_EXAMPLES = """\b
Examples:
  staticwado config check
  staticwado -c new.json5 config check
"""
_INIT_EXAMPLES = """\b
Examples:
  staticwado config init
  staticwado config init /etc/static-wado.json5
"""


@config.command(short_help="Print the values that hold, and where each comes from.", epilog=_SHOW_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared()
@click.pass_obj
def show(common: Common, *, as_json: bool) -> None:
    """Print the effective values, the file that was read, and where each value comes from."""
    from staticwado_daemon.config.schema import MAPS, SECTIONS

    configuration = common.configuration()
    sections = {section: configuration.effective(section) for section in (*SECTIONS, *MAPS)}
    if as_json:
        found = {
            section: {name: {"value": setting.value, "origin": setting.origin} for name, setting in values.items()}
            for section, values in sections.items()
        }
        click.echo(json.dumps(found, indent=2))
        return
    rows = [
        (section, name, json.dumps(setting.value, ensure_ascii=False), setting.origin)
        for section, values in sections.items()
        for name, setting in values.items()
    ]
    name_width = max(len(name) for _, name, _, _ in rows)
    value_width = min(28, max(len(value) for _, _, value, _ in rows))
    document = configuration.document
    click.echo(click.style(f"# {document.path if document else 'no configuration file'}\n", dim=True))
    previous = ""
    for section, name, value, origin in rows:
        if section != previous:
            click.echo(("\n" if previous else "") + click.style(section, bold=True))
            previous = section
        click.echo(f"  {name:{name_width}}  {value:{value_width}}  {click.style(origin, dim=True)}")


@config.command(short_help="Check the configuration: every problem, not just the first.", epilog=_CHECK_EXAMPLES)
@shared()
@click.pass_obj
def check(common: Common) -> int:
    """Check the configuration: every problem, not just the first."""
    from staticwado_daemon.cli import preflight
    from staticwado_daemon.config import Configuration, document, find
    from staticwado_daemon.config import check as checks

    place = find(common.config)
    if place is None:
        click.echo("no configuration file: the defaults hold (`staticwado config init` writes a file to begin with)")
        _say_what_run_would(Configuration(None, {}))
        return 0
    source = document.read(place)
    errors, warnings = list(checks.errors(source)), list(checks.warnings(source))
    if not errors:
        errors.extend(dict.fromkeys(preflight.errors(Configuration(source, {}))))
    for sentence in errors:
        click.echo(f"{click.style('error:', fg='red')} {sentence}")
    for sentence in warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {sentence}")
    if errors:
        return 2
    click.echo(f"{place} is good")
    if not preflight.is_for_run(configuration := Configuration(source, {})):
        _say_what_run_would(configuration)
    return 0


def _say_what_run_would(configuration: "Configuration") -> None:
    """Say why the daemon would not begin, where nothing was to be said of it: other commands need no daemonConfig."""
    from staticwado_daemon.cli import preflight

    for sentence in itertools.islice(preflight.run_errors(configuration), 1):
        click.echo(f"`staticwado run` would refuse: {sentence}")


@config.command(short_help="Write a commented configuration to begin with.", epilog=_INIT_EXAMPLES)
@click.argument("file", type=PathOrStdout(), required=False)
@shared()
@click.pass_obj
def init(common: Common, file: Path | None) -> None:
    """Write a commented configuration with every setting at its default to FILE (./static-wado.json5, or -)."""
    from staticwado_daemon.config import FILE_NAME, find

    target = file or common.config or Path.cwd() / FILE_NAME
    text = "".join(_template())
    if target == STDOUT:
        sys.stdout.write(text)
        return
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise StaticwadoError(f"{target} exists: remove it first, or name another file") from None
    named = "" if find(None) == target else f" -c {shlex.quote(os.path.relpath(target))}"
    click.echo(f"wrote {target}: name a folder in daemonConfig.inbound, then `staticwado run{named}`")


def _template() -> Iterator[str]:
    from staticwado_daemon.config.schema import MAPS, SECTIONS

    yield "// Settings of staticwado. Each is shown with its default, but those of more than one value, such as\n"
    yield "// `inbound` and `serve`, which are empty by default, with an example; take the // away to change it.\n{\n"
    for number, (section, group) in enumerate(SECTIONS.items()):
        if number:
            yield "\n"
        yield from _comment(group.__doc__ or "", 2)
        yield f"  {section}: {{\n"
        yield from _keys(group, 4)
        yield "  },\n"
    for section, group in MAPS.items():
        yield "\n"
        yield from _comment(group.__doc__ or "", 2)
        yield f"  {section}: {{\n    // PACS: {_object(group)},\n  }},\n"
    yield "}\n"


def _keys(group: "type[Group]", indent: int) -> Iterator[str]:
    from staticwado_daemon.config.schema import keys

    for key in keys(group):
        yield from _comment(key.meaning, indent)
        yield f"{' ' * indent}// {key.name}: {_example(key)},\n"


def _example(key: "Key") -> str:
    """Write a key's default as it would stand in the file; for a nested object, its keys with their defaults."""
    if key.group:
        return f"[{_object(key.group)}]" if key.is_list else _object(key.group)
    return _literal(key.default)


def _object(group: "type[Group]") -> str:
    from staticwado_daemon.config.schema import keys

    inner = (f"{each.name}: {_literal(each.example or each.default)}" for each in keys(group))
    return f"{{{', '.join(inner)}}}"


def _literal(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _comment(text: str, indent: int) -> Iterator[str]:
    lead = " " * indent + "// "
    for line in textwrap.wrap(text, 110, initial_indent=lead, subsequent_indent=lead):
        yield line + "\n"
