"""The documentation says what the code does: settings with their defaults, commands, targets."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.cli import dicomwebscp_command, dicomwebserver_command, mkdicomweb_command, staticwado
from staticwado_daemon.cli.assembly import JOURNAL
from staticwado_daemon.config.check import expected
from staticwado_daemon.config.reference import REFUSED, UNUSED
from staticwado_daemon.config.schema import MAPS, SECTIONS, Group, Key, keys
from staticwado_daemon.operate import metrics
from staticwado_daemon.operate.status import Status
from tests import commands

PROGRAMS: dict[str, click.Command] = {
    "staticwado": staticwado,
    "mkdicomweb": mkdicomweb_command,
    "dicomwebserver": dicomwebserver_command,
    "dicomwebscp": dicomwebscp_command,
}
REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/configuration.md").read_text(encoding="utf-8")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
OPERATING = (REPOSITORY / "docs/operating.md").read_text(encoding="utf-8")
NETWORK = (REPOSITORY / "docs/network.md").read_text(encoding="utf-8")
CHANGES = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def _chapter(title: str) -> list[str]:
    """The lines of docs/configuration.md between one heading and the next."""
    found = re.search(rf"^#+ `?{re.escape(title)}`?$(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/configuration.md has no chapter {title}"
    return found[1].splitlines()


def _rows(title: str) -> list[str]:
    return [line for line in _chapter(title) if line.startswith("| `")]


def _row(key: Key) -> str:
    kind = expected(key).replace("|", "\\|")
    if key.group:
        kind = "a list of objects" if key.is_list else "an object"
    default = "required" if key.required else _default(key)
    return f"| `{key.name}` | {kind} | {default} | {key.meaning} |"


def _default(key: Key) -> str:
    if key.default is None:
        return "absent"
    number = isinstance(key.default, float) and key.default.is_integer()
    return f"`{json.dumps(int(key.default) if number else key.default)}`"


def _groups() -> Iterator[tuple[str, type[Group]]]:
    for section, group in (SECTIONS | MAPS).items():
        yield section, group
        for key in keys(group):
            if key.group:
                yield f"{section}.{key.name}{'[]' if key.is_list else ''}", key.group


@pytest.mark.parametrize(("title", "group"), list(_groups()))
def test_every_setting_is_documented_as_it_is(title: str, group: type[Group]) -> None:
    assert _rows(title) == [_row(key) for key in keys(group)]


def test_every_unused_setting_of_static_wado_is_listed() -> None:
    listed = set(re.findall(r"`([\w.]+)`", "\n".join(_chapter("Settings of static-wado that have no effect"))))
    expected_names = set()
    for section, notes in UNUSED.items():
        expected_names |= {section} if isinstance(notes, str) else {f"{section}.{name}" for name in notes}
    assert listed == expected_names | set(REFUSED)


@pytest.mark.parametrize(
    "text",
    [README, OPERATING, NETWORK, PAGE, CHANGES],
    ids=["README", "operating", "network", "configuration", "CHANGELOG"],
)
def test_every_command_of_the_documentation_exists(text: str) -> None:
    shown = re.findall(
        rf"(?:`|^(?:    )?\$ |^    (?:ExecStart=)?|-- )(?:/\S*/)?({'|'.join(PROGRAMS)})( [^`#|>\n]*)",
        text,
        re.MULTILINE,
    )
    assert shown
    for program, arguments in shown:
        _check_command_line(PROGRAMS[program], arguments.split(), program + arguments)
    for module in re.findall(r"python -m (\S+)", text):
        assert hasattr(importlib.import_module(module), "main"), module


def _check_command_line(command: click.Command, words: list[str], shown: str) -> None:
    """Every command and option that is shown exists; options of a group may stand before its command."""
    options = _options(command)
    values = iter(words)
    for word in values:
        if word.startswith("-"):
            option = options.get(word)
            assert option, f"{shown}: there is no {word}"
            if not option.is_flag and not option.count:
                next(values, None)
        elif isinstance(command, click.Group):
            if command is mkdicomweb_command and word not in command.commands:
                return
            assert word in command.commands, f"{shown}: there is no {word}"
            command = command.commands[word]
            options = _options(command)


def _options(command: click.Command) -> dict[str, click.Option]:
    return {name: each for each in command.params if isinstance(each, click.Option) for name in each.opts}


def test_options_of_the_documentation_are_looked_at() -> None:
    for wrong in ("staticwado nothing", "staticwado run --nothing", "staticwado -c FILE config nothing"):
        program, *words = wrong.split()
        with pytest.raises(AssertionError, match=r"there is no .*nothing"):
            _check_command_line(PROGRAMS[program], words, wrong)


def test_the_page_of_commands_is_current() -> None:
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "run: python -m tests.commands"


def test_the_readme_names_the_other_programs() -> None:
    assert "mkdicomweb" in README
    assert dicomwebserver_command.name in README


def test_the_status_for_monitoring_is_shown_as_it_is() -> None:
    shown = re.search(r'^    (\{"running".*?\})$', OPERATING, re.MULTILINE | re.DOTALL)
    assert shown
    assert tuple(json.loads(shown[1])) == Status.__struct_encode_fields__


def test_alerts_ask_for_what_is_there() -> None:
    """All are gauges, and the time of the last publication is absent until there is one."""
    source = Path(metrics.__file__).read_text(encoding="utf-8")
    shown = re.findall(r"^    (.*\bstaticwado_\w+.*[<>=]=? [0-9]+)$", OPERATING, re.MULTILINE)
    assert len(shown) == 6
    for alert in shown:
        assert set(re.findall(r"\bstaticwado_\w+", alert)) <= set(re.findall(r'"(staticwado_\w+)"', source)), alert
        assert not re.search(r"\b(increase|rate|irate)\(", alert), "these are for counters"
        head, *others = re.split(r" (?:and|unless) ", alert)
        assert "last_published" not in head
        assert not others or " unless " in alert


@pytest.mark.parametrize("text", [commands.page(), OPERATING], ids=["commands", "operating"])
def test_exit_codes_are_explained(text: str) -> None:
    assert re.search(r"\b3\b[^0-9]*partly[^0-9]*rejected[^0-9]*`doctor`: something needs\s+attention", text)
    assert re.search(r"\b130\b", text)


def test_the_backup_chapter_names_everything_private_that_lasts() -> None:
    named = set(re.findall(r"^\| `([\w.]+)/?` \|", OPERATING, re.MULTILINE))
    lasting = {layout.KEPT, layout.ORIGINALS, layout.FORMAT, layout.DIRTY, layout.STAGING, layout.PREPARING}
    assert named >= {path.removeprefix(f"{layout.PRIVATE}/") for path in lasting}
    assert JOURNAL in named


def test_every_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert {"run", "test", "lint", "bench", "soak", "clean"} <= targets
    assert set(re.findall(r"make ([a-z]+)`", README)) <= targets


def test_every_target_says_what_it_means() -> None:
    for target in ("run", "test", "lint", "bench", "soak", "clean"):
        assert re.search(rf"^{target}:.*## \S", MAKEFILE, re.MULTILINE), target


def test_links_lead_somewhere() -> None:
    for page in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(REPOSITORY)}: {target}"
