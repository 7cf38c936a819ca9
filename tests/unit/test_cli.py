"""The command line: shared options, exit codes, one sentence for an error, and stdout for nothing but the answer."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from staticwado_daemon.archive.audit import Entry, append
from staticwado_daemon.cli import execute, mkdicomweb_command, staticwado
from staticwado_daemon.cli.outcomes import counted, exit_code, print_summary, to_json
from staticwado_daemon.cli.server import dicomwebserver_command
from staticwado_daemon.errors import ConfigError, Corrupt
from staticwado_daemon.operate.doctor.finding import attention
from staticwado_daemon.pipeline.requests import Answer
from staticwado_daemon.web.app import bind
from tests.system import certificates

REPOSITORY = Path(__file__).parents[2]
CLI = (sys.executable, "-m", "staticwado_daemon.cli")


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")


def _run(*arguments: str | Path) -> int:
    return execute(staticwado, "staticwado", [str(argument) for argument in arguments])


def _show(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert _run(*arguments) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def _started(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([*CLI, *arguments], text=True, check=False, env=environment, **options)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "{file}", "--root", "/typed", "config", "show", "--json"),
        ("config", "-c", "{file}", "--root", "/typed", "show", "--json"),
        ("config", "show", "--json", "-c", "{file}", "--root", "/typed"),
        ("--root", "/other", "-c", "/nonexistent", "config", "show", "--json", "-c", "{file}", "--root", "/typed"),
    ],
)
def test_shared_options_stand_before_or_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    file = tmp_path / "x.json5"
    file.write_text("{staticWadoConfig: {contentType: 'jls'}}")
    shown = _show(capsys, *(argument.format(file=file) for argument in arguments))["staticWadoConfig"]
    assert shown["rootDir"] == {"value": "/typed", "origin": "command line"}
    assert shown["contentType"] == {"value": "jls", "origin": f"{file}:1"}
    assert shown["group"] == {"value": None, "origin": "default"}


def test_a_relative_root_starts_where_the_command_is_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json5").write_text("{}")
    shown = _show(capsys, "config", "show", "--json", "-c", tmp_path / "x.json5", "--root", "tree")
    assert shown["staticWadoConfig"]["rootDir"]["value"] == str(tmp_path / "cwd/tree")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["-h"], 0),
        (["create", "--help"], 0),
        (["--version"], 0),
        (["bogus"], 2),
        (["create"], 2),
        (["create", "/nonexistent/file"], 2),
        (["create", "--content-type", "gif", "."], 2),
        (["config", "show", "-c", "/nonexistent/static-wado.json5"], 2),
        (["export", "../../etc", "--root", "tree"], 2),
        (["export", "1.2.3", "--root", "tree"], 1),
        (["export", "1.2.3", "--root", "absent"], 2),
        (["index", "--root", "absent"], 2),
        (["status", "--root", "absent"], 2),
        (["index", "--root", ""], 2),
        (["config", "show", "-c", ""], 2),
        (["create", "--root", "absent", ""], 2),
        (["status"], 2),
        (["run"], 2),
        (["nginx-config", "--listen", "nowhere"], 2),
        (["nginx-config", "--allow-origin", "viewer.example"], 2),
        (["nginx-config", "--ohif", "/nonexistent"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tree/studies").mkdir(parents=True)
    assert _run(*arguments) == code
    printed = capsys.readouterr()
    assert bool(printed.err) is (code != 0)
    if code:
        assert re.fullmatch(r"staticwado: .*\n", printed.err), "one sentence"
    assert not Path("absent").exists()


@pytest.mark.parametrize(("error", "code"), [(ConfigError("say where"), 2), (Corrupt("it is broken"), 1)])
def test_our_errors_are_one_sentence(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("staticwado_daemon.config.load", fail)
    assert _run("config", "show") == code
    assert capsys.readouterr().err == f"staticwado: {error}\n"


def test_an_interrupted_command_says_so_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("staticwado_daemon.config.load", interrupt)
    assert _run("config", "show") == 130


def test_a_reader_who_has_seen_enough_hears_no_complaint() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = _started("config", "init", "-", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert ran.returncode == 1
    assert ran.stderr == ""


def test_a_terminal_that_lacks_a_character_gets_it_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    script = "from staticwado_daemon.cli import mkdicomweb; mkdicomweb()"
    command = [sys.executable, "-c", script, "-h"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "PATH\\u2026 | COMMAND" in ran.stdout


@pytest.mark.parametrize(("closed", "arguments", "code"), [(">&-", "config check", 0), ("2>&-", "bogus", 2)])
def test_nobody_needs_to_listen(closed: str, arguments: str, code: int) -> None:
    command = ["sh", "-c", f"{' '.join(CLI)} {arguments} {closed}"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, b"", b"")


def test_unused_settings_of_static_wado_are_mentioned_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json5"
    file.write_text("{staticWadoConfig: {recompressThumb: ['jp2']},\n plugins: {}}")
    assert _run("-c", file, "config", "show", "--json") == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert printed.err.startswith(f"warning: {file}:1: staticWadoConfig.recompressThumb isn't used by staticwado")
    assert "(and 1 more: see `staticwado config check`)" in printed.err


def test_check_names_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json5"
    file.write_text("{staticWadoConfig: {rotDir: '/x'},\n daemonConfig: {workers: 'many'},\n awsConfig: {}}")
    assert _run("config", "check", "-c", file) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "error", "warning"]
    file.write_text("{daemonConfig: {inbound: [{dir: 'in'}]}}")
    assert _run("config", "check", "-c", file) == 2
    assert "isn't a folder" in capsys.readouterr().out
    (tmp_path / "in").mkdir()
    assert _run("config", "check", "-c", file) == 0
    assert capsys.readouterr().out == f"{file} is good\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{staticWadoConfig: {group: 'nobodys'}}", "no group 'nobodys'"),
        ("{mkdicomwebConfig: {group: 'nobodys'}}", "no group 'nobodys'"),
        ("{staticWadoConfig: {rootDir: 'file/tree'}}", "isn't a folder"),
        ("{staticWadoConfig: {rootDir: 'tree/studies'}}", "is inside the tree"),
        ("{dicomWebServerConfig: {allowOrigin: 'viewer'}}", "dicomWebServerConfig.allowOrigin: 'viewer' isn't an"),
        ("{daemonConfig: {dropDir: 'd', serve: {allowOrigin: 'x'}}}", "daemonConfig.serve.allowOrigin: 'x' isn't an"),
    ],
)
def test_check_finds_what_commands_would_refuse(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json5"
    file.write_text(text)
    (tmp_path / "file").touch()
    (tmp_path / "tree/.staticwado").mkdir(parents=True)
    assert _run("config", "check", "-c", file) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert words in line
    if "serve" in text:
        assert _run("run", "-c", file) == 2
        assert words in capsys.readouterr().err


def test_show_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json5").write_text("{}")
    assert _run("config", "show", "-c", tmp_path / "x.json5") == 0
    assert capsys.readouterr().out.startswith(f"# {tmp_path}/x.json5\n")
    assert _run("config", "show") == 0
    assert capsys.readouterr().out.startswith("# no configuration file\n")


def test_init_says_how_its_file_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("config", "init", "-c", "foo bar.json5") == 0
    assert capsys.readouterr().out.endswith("then `staticwado run -c 'foo bar.json5'`\n")
    assert _run("config", "init") == 0
    assert capsys.readouterr().out.endswith("then `staticwado run`\n")
    assert _lines(Path("static-wado.json5"))[-2:] == ["  },", "}"]


def test_check_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/etc/static-wado.json5").exists():
        pytest.fail("this machine has a configuration in /etc: these tests need one that hasn't")
    assert _run("config", "check") == 0
    printed = capsys.readouterr().out
    assert "no configuration file" in printed
    assert "`staticwado run` would refuse: nothing to watch" in printed


def test_a_configuration_without_the_daemon_is_good_for_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    Path("static-wado.json5").write_text("{staticWadoConfig: {rootDir: 'tree'}}")
    assert _run("config", "check") == 0
    good, refused = capsys.readouterr().out.splitlines()
    assert good.endswith("is good")
    assert refused.startswith("`staticwado run` would refuse: nothing to watch")
    assert _run("run") == 2
    assert "nothing to watch" in capsys.readouterr().err


def test_init_writes_a_file_that_checks_with_and_without_its_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("config", "init") == 0
    file = tmp_path / "cwd/static-wado.json5"
    assert _run("config", "check") == 2
    assert "error: nothing to watch: name a folder in daemonConfig.inbound" in capsys.readouterr().out
    assert _run("config", "init") == 1
    assert "exists" in capsys.readouterr().err
    settings = [line.replace("// ", "", 1) if ": " in line and line.endswith(",") else line for line in _lines(file)]
    (tmp_path / "dicom").mkdir()
    certificate, key = certificates.authority(tmp_path / "authority").sign("node")
    uncommented = "\n".join(settings)
    uncommented = uncommented.replace("/etc/staticwado/tls.crt", str(certificate))
    uncommented = uncommented.replace("/etc/staticwado/tls.key", str(key))
    uncommented = uncommented.replace('"/dicom"', f'"{tmp_path}/dicom"')
    file.write_text(uncommented)
    assert "inbound: [{dir:" in uncommented
    assert _run("config", "check") == 0, capsys.readouterr().out
    capsys.readouterr()
    shown = _show(capsys, "config", "show", "--json")
    assert shown["staticWadoConfig"]["maximumInlinePublicLength"]["origin"].startswith(str(file))
    assert _run("config", "init", "-") == 0
    assert capsys.readouterr().out.startswith("// Settings of staticwado")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_a_tree_without_permission_is_no_wrong_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, whom nobody refuses
    Path("tree/.staticwado").mkdir(parents=True)
    assert _run("audit", "--root", "tree") == 0


def test_an_input_without_permission_is_no_wrong_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (paths,) = (each for each in staticwado.commands["create"].params if each.name == "paths")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, whom nobody refuses
    assert paths.type.convert(str(tmp_path), paths, None) == tmp_path


ANSWERS = (
    Answer(Path("/in/1"), "published", None, "1.2.1"),
    Answer(Path("/in/2"), "duplicate", None, "1.2.1"),
    Answer(Path("/in/3"), "rejected", "no SOP Instance UID (0008,0018)", None),
    Answer(Path("/in/\x1b[2J4"), "rejected", "no SOP Instance UID (0008,0018)", None),
    Answer(Path(os.fsdecode(b"/in/\xe9")), "ignored", "not a DICOM file", None),
)


def test_the_object_has_counts_that_add_up_and_a_receipt_for_each_file() -> None:
    answer = json.loads(to_json(ANSWERS))
    receipts = answer.pop("receipts")
    assert answer == {"published": 1, "duplicate": 1, "superseded": 0, "rejected": 2, "ignored": 1}
    assert sum(answer.values()) == len(receipts) == len(ANSWERS)
    assert receipts[0] == {"path": "/in/1", "outcome": "published", "reason": None, "sopInstanceUID": "1.2.1"}
    assert os.fsencode(receipts[4]["path"]) == b"/in/\xe9"


def test_the_summary_names_what_was_rejected_and_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(ANSWERS, Path("/tree"), 2.0)
    printed = capsys.readouterr().out
    assert "rejected: no SOP Instance UID (0008,0018) (2)" in printed
    assert "  /in/3\n" in printed
    assert "/in/\\x1b[2J4" in printed
    assert "\x1b" not in printed
    assert "ignored: not a DICOM file (1)\n  /in/\\udce9\n" in printed
    assert "  duplicate   1  known already\n" in printed
    assert "  files       5  in 2.0 s, 2 a second, into /tree\n" in printed
    assert exit_code(ANSWERS) == 3
    assert exit_code(ANSWERS[:2]) == 0


def test_the_summary_counts_what_was_not_stored_as_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["not stored as jpeg: Bits Allocated is 16"] * 2 + ["odd \x1b[2J", None]
    print_summary([Answer(Path("/in/1"), "published", each, "1.2.1") for each in reasons], Path("/tree"), 0.1)
    printed = capsys.readouterr().out
    assert printed.endswith(
        "into /tree\n\n2 published, not stored as jpeg: Bits Allocated is 16\n1 published, odd \\x1b[2J\n"
    )
    assert "/in/" not in printed


def test_the_summary_names_only_the_first_files(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(ANSWERS[:1], Path("/tree"), 0.1)
    assert "  file        1  in 0.1 s, into /tree\n" in capsys.readouterr().out
    print_summary([Answer(Path(f"/in/{n}"), "ignored", "no DICOM", None) for n in range(9)], Path("/tree"), 0.1)
    printed = capsys.readouterr().out
    assert printed.count("  /in/") == 3
    assert "  … and 6 more: --json names them all\n" in printed


def test_index_says_how_many_studies(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tree/.staticwado").mkdir(parents=True)
    assert _run("index", "--root", "tree") == 0
    assert capsys.readouterr().out.endswith("the list is made anew, of 0 studies\n")
    assert counted(1, "study") == "1 study"
    assert counted(1234, "file") == "1,234 files"


def test_mkdicomweb_creates_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        execute(mkdicomweb_command, "mkdicomweb", list(arguments))
        printed = capsys.readouterr()
        return printed.out + printed.err

    assert "mkdicomweb create" in run("--content-type", "bogus", "x")
    assert "mkdicomweb create" in run("-o", "index", "/nonexistent")
    assert "mkdicomweb index" in run("index", "--bogus")
    assert "Usage: mkdicomweb [OPTIONS] PATH… | COMMAND" in run("-h")


def test_dicomwebserver_says_its_address_once_it_has_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> int:
        return execute(dicomwebserver_command, "dicomwebserver", list(arguments))

    served: list[tuple[str, str]] = []
    monkeypatch.setattr("staticwado_daemon.web.app.serve_on", lambda *_: served.append(capsys.readouterr()))
    monkeypatch.setattr("staticwado_daemon.log.configure", lambda *_: None)
    Path("tree/studies").mkdir(parents=True)
    with bind("127.0.0.1", 0) as other:
        port = str(other.getsockname()[1])
        assert run("-o", "tree", "-p", port) == 2
    printed = capsys.readouterr()
    assert (printed.out, served) == ("", [])
    assert f"can't listen on 127.0.0.1:{port}" in printed.err
    assert run("-o", "tree", "-p", port) == 0
    assert served == [(f"{Path.cwd()}/tree: DICOMweb on http://127.0.0.1:{port}/dicomweb; Ctrl-C ends it\n", "")]
    assert run("-o", "tree", "-p", port, "--host", "0.0.0.0") == 0  # noqa: S104 (what it warns of)
    assert "can be reached from other machines" in served[1][1]
    assert run("-o", "absent", "-p", port) == 2
    assert capsys.readouterr().err.startswith(f"dicomwebserver: there is no tree in {Path.cwd()}/absent: name it with")


def test_nginx_config_warns_of_an_open_door(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # to root it would say more
    assert _run("nginx-config", "-o", "tree", "--listen", "0.0.0.0:8080") == 0
    printed = capsys.readouterr()
    assert "listen 0.0.0.0:8080" in printed.out
    assert printed.err.startswith("warning: 0.0.0.0:8080")
    assert _run("nginx-config", "-o", "tree", "--allow-origin", "https://viewer.example") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert '"https://viewer.example"' in printed.out


def _commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*before, name))
        else:
            yield (*before, name)


@pytest.mark.parametrize("command", [pytest.param(each, id=" ".join(each)) for each in _commands(staticwado)])
def test_help_has_examples_and_fits_a_terminal(command: tuple[str, ...]) -> None:
    told = CliRunner().invoke(staticwado, [*command, "--help"], terminal_width=80).output
    assert "Examples:" in told
    assert "\\b" not in told
    assert max(map(len, told.splitlines())) <= 80


def test_the_doctor_s_sentences_fit_a_terminal_and_are_whole_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "the clock isn't synchronised: install systemd-timesyncd or chrony (timedatectl shows it)"
    monkeypatch.setattr("staticwado_daemon.operate.doctor.machine.clock", lambda: attention(sentence))
    assert _run("doctor", "-c", "absent") == 3
    assert f"  !!  clock           {sentence}\n" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert _run("doctor", "-c", "absent") == 3
    printed = click.unstyle(capsys.readouterr().out)
    assert "  !!  clock           the clock isn't" in printed
    assert f"or\n{'':22}chrony" in printed


@pytest.mark.parametrize(("path", "hint"), [("tree/.staticwado/lock", True), ("out/1.2.dcm", False)])
def test_who_may_use_the_tree_is_said(path: str, hint: bool, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def refused() -> None:
        raise PermissionError(13, "Permission denied", path)

    assert execute(refused, "staticwado", []) == 1
    told = capsys.readouterr().err
    assert f"{path}: Permission denied" in told
    assert ("run this as the tree's user, or as root" in told) == hint


def test_the_audit_log_counts_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".staticwado").mkdir()
    append(tmp_path, Entry("export", ("1.2",), counts={"instances": 2, "failed": 0, "bytes": 1234}))
    append(tmp_path, Entry("export", ("1.2",), counts={"instances": 0, "failed": 1, "bytes": 0}))
    append(tmp_path, Entry("export", ("1.2",), counts={"instances": 0, "failed": 0, "bytes": 0}))
    assert _run("audit", "--root", tmp_path) == 0
    shown = re.findall(r"\((.*)\)", capsys.readouterr().out)
    assert shown == ["2 instances, 1,234 bytes", "1 failed", "nothing"]


def test_static_wado_s_commands_are_commands_of_mkdicomweb() -> None:
    page = (REPOSITORY / "docs" / "migration.md").read_text(encoding="utf-8").partition("## Options")[0]
    named = {name for name in re.findall(r"`mkdicomweb ([a-z0-9]+)", page) if name != "server"}
    assert named <= {*mkdicomweb_command.commands}


def test_help_is_there_at_once() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        _started("--help", stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    slow = {"pydicom", "numpy", "structlog", "rich", "msgspec", "json5", "uvicorn", "watchdog", "imagecodecs"}
    script = "import sys, staticwado_daemon.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not slow & set(loaded.stdout.split())
    assert min(seconds() for _ in range(5)) < 0.15
