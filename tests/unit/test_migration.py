"""Every option of static-wado's `mkdicomweb`: in the table of docs/migration.md, and as the table says."""

import re
from pathlib import Path

import click
import pytest

from staticwado_daemon.cli import dicomwebscp_command, execute, mkdicomweb_command, staticwado
from staticwado_daemon.cli.create import create
from staticwado_daemon.cli.options import Common
from staticwado_daemon.cli.reference import ALWAYS, REFUSED, SCP_REFUSED

PAGE = Path(__file__).parents[2] / "docs/migration.md"
REFERENCE = """
    -c --clean -d --deployments --no-notifications --delete --lossy --alternate --alternate-thumbnail --alternate-name
    -v --verbose --show-progress -t --content-type --encapsulated-image -e --no-encapsulated-image --single-part-image
    --no-single-part-image -m --maximum-inline-public-length -M --maximum-inline-private-length -r --recompress
    --recompress-color -f --force --delete-input --delete-failed --recompress-thumb --no-recompress
    --no-recompress-thumb --no-thumb --dcm2jpg --rendered -T --color-content-type --path-deduplicated --path-instances
    --store-multipart-bulk-data --prepend-bulk-data-uri --expand-bulk-data-uri --quiet --multipart --no-verify -o --dir
    --sop-instance-uid --series-instance-uid --hash-study-uid-path --no-index
""".split()


def table() -> dict[str, str]:
    chapter = PAGE.read_text("utf-8").partition("## Options")[2].partition("\n## ")[0]
    rows = (line.strip("| ").split(" | ", 1) for line in chapter.splitlines() if line.startswith("| `"))
    return {name: fate for names, fate in rows for name in re.findall(r"`(-[\w-]+)", names)}


def options() -> dict[str, click.Option]:
    return {name: each for each in create.params if isinstance(each, click.Option) for name in each.opts}


def test_the_table_has_every_option_and_no_other() -> None:
    assert table().keys() == set(REFERENCE)


@pytest.mark.parametrize("name", REFERENCE)
def test_an_option_is_what_the_table_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fate, option = table()[name], options()[name]
    (tmp_path / "in").mkdir()
    value = [] if option.is_flag else ["x"]
    line = ["create", *([name] if name != "-c" else []), *value, str(tmp_path / "in"), "-o", str(tmp_path / "r")]
    if fate.startswith("refused: "):
        assert option.hidden
        assert execute(mkdicomweb_command, "mkdicomweb", line) == 2
        said = capsys.readouterr().err
        assert fate.removeprefix("refused: ") in said
        assert "isn't an option of staticwado" in said
        return
    assert option.hidden == fate.startswith("accepted")
    if fate.startswith("accepted"):
        context = create.make_context("create", [name, *value, str(tmp_path / "in")], obj=Common())
        warned = capsys.readouterr().err
        assert ("changes nothing" in warned) == ("warning" in fate)
        assert context.obj.settings == {}


@pytest.mark.parametrize("names", SCP_REFUSED)
def test_an_option_of_the_scp_says_what_to_do_instead(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    row = f"| {', '.join(f'`{name}`' for name in names)} | refused: {SCP_REFUSED[names]} |"
    assert row in PAGE.read_text("utf-8").splitlines()
    for name in names:
        value = [] if name == "--clean" else ["x"]
        for before in ([], ["scp"], ["-p", "11112"]):
            assert execute(dicomwebscp_command, "dicomwebscp", [*before, name, *value]) == 2
            assert f"isn't an option of staticwado: {SCP_REFUSED[names]}" in capsys.readouterr().err


def test_each_reason_stands_once() -> None:
    refused = [name for names in REFUSED for name in names]
    assert len(set(refused)) == len(refused)
    assert not set(refused) & set(ALWAYS)
    assert set(refused) | set(ALWAYS) <= set(REFERENCE)


def test_help_has_what_works_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    execute(staticwado, "staticwado", ["create", "--help"])
    shown = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", capsys.readouterr().out))
    for name, fate in table().items():
        assert (name in shown) == (not fate.startswith(("refused", "accepted"))), name


def settings_of(*arguments: str) -> dict[str, object]:
    context = create.make_context("create", [*arguments, str(PAGE)], obj=Common())
    settings: dict[str, object] = context.obj.settings
    return settings


def test_options_are_settings() -> None:
    assert settings_of() == {}
    assert settings_of("-t", "jls", "-T", "jpeg") == {"contentType": "jls", "colorContentType": "jpeg"}
    assert settings_of("-r", "uncompressed, rle") == {"recompress": ["uncompressed", "rle"]}
    assert settings_of("--no-recompress") == {"recompress": ["none"], "recompressColor": ["none"]}
    assert settings_of("-m", "0", "-M", "7") == {"maximumInlinePublicLength": 0, "maximumInlinePrivateLength": 7}
    assert settings_of("--no-thumb", "--rendered") == {"thumb": False, "rendered": True}
    assert settings_of("--alternate", "jls", "--alternate-name", "small", "--alternate-thumbnail") == {
        "alternate": "jls",
        "alternateName": "small",
        "alternateThumbnail": True,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-t", "gif"], "isn't one of"),
        (["-r", "uncompressed,gif"], "each one of"),
        (["-m", "much"], "a whole number"),
        (["--alternate-name", "frames"], "no name of the tree's own"),
        (["--alternate", "jpeg"], "jhcLossless"),
    ],
)
def test_a_value_is_checked_as_in_a_file(arguments: list[str], words: str) -> None:
    with pytest.raises(click.BadParameter, match=words):
        settings_of(*arguments)
