"""Logging: one way for everybody's records, a form for each reader of stderr, and nothing about patients by default."""

import functools
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import structlog

from staticwado_daemon import log

SCRIPT = """
    import functools, logging, sys, warnings
    import structlog
    from staticwado_daemon import log
    from staticwado_daemon.errors import Corrupt

    log.configure({level!r}, {style!r})
    own = structlog.get_logger("staticwado_daemon.pipeline.line")
    own.debug("worker_started", number=1)
    own.info("study_published", study="1.2.3", instances=4)
    try:
        try:
            int("DOE^JOHN")
        except ValueError as error:
            raise Corrupt("record file 12ab has no table") from error
    except Corrupt:
        own.exception("grouping_failed", study="1.2.3")
    try:
        open("/nonexistent/DOE^JOHN.dcm")
    except OSError as error:
        own.error("source_lost", exc_info=error)
    for name in ("pydicom", "pynetdicom.acse", "watchdog.observers", "uvicorn.access", "some.library"):
        logging.getLogger(name).warning("seen DOE^JOHN")
        logging.getLogger(name).error("lost %s", "DOE^JOHN")
    logging.getLogger("botocore.retry").warning("retry needed, host %s", "s3.example")
    logging.getLogger("some.library").error("broken %s %s", "DOE^JOHN")
    warnings.warn("Invalid value for VR PN: 'DOE^JOHN'")
"""


@pytest.fixture
def no_systemd(tmp_path: Path) -> str:
    """A PYTHONPATH in which systemd-python isn't installed."""
    (tmp_path / "systemd.py").write_text("raise ImportError")
    return f"{tmp_path}:{Path.cwd()}"


def _run(level: str, style: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(SCRIPT.format(level=level, style=style))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )


def _events(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("style", ["auto", "console", "json", "journal"])
def test_no_style_tells_a_patients_name_by_default(style: str, no_systemd: str) -> None:
    ran = _run("info", style, PYTHONPATH=no_systemd)
    assert "DOE" not in ran.stderr
    assert ran.stdout == ""
    assert "study_published" in ran.stderr


def test_foreign_records_say_where_they_come_from() -> None:
    events = _events(_run("info", "json").stderr)
    foreign = {(event["logger"], event["level"]) for event in events if event["event"] == "foreign_record"}
    assert foreign == {
        ("pydicom", "error"),
        ("watchdog.observers", "warning"),
        ("watchdog.observers", "error"),
        ("some.library", "warning"),
        ("some.library", "error"),
    }
    assert all(":" in event["where"] for event in events if event["event"] == "foreign_record")
    assert "retry needed, host s3.example" in {event["event"] for event in events}


def test_an_exception_keeps_our_words_and_the_systems() -> None:
    events = {event["event"]: event for event in _events(_run("info", "json").stderr)}
    told = events["grouping_failed"]["exception"]
    assert told.endswith("Corrupt: record file 12ab has no table, because of ValueError")
    assert 'File "<string>", line' in told
    assert events["source_lost"]["exception"].endswith("FileNotFoundError: No such file or directory")


def test_verbose_shows_everything() -> None:
    events = _events(_run("debug", "json").stderr)
    assert "worker_started" in {event["event"] for event in events}
    assert "lost DOE^JOHN" in {event["event"] for event in events if event["logger"] == "pydicom"}
    assert any("Invalid value for VR PN" in event["event"] for event in events)
    assert any("invalid literal for int() with base 10: 'DOE^JOHN'" in event.get("exception", "") for event in events)


def test_warning_level_silences_our_information() -> None:
    assert "study_published" not in _run("warning", "json").stderr


def test_events_are_single_json_lines_with_time_and_origin() -> None:
    assert all(line.startswith("{") for line in _run("info", "auto").stderr.splitlines())
    event = next(each for each in _events(_run("info", "auto").stderr) if each["event"] == "study_published")
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "study_published",
        "level": "info",
        "logger": "staticwado_daemon.pipeline.line",
        "study": "1.2.3",
        "instances": 4,
    }


def test_journal_lines_carry_their_priority_where_systemd_python_is_absent(no_systemd: str) -> None:
    lines = _run("info", "journal", PYTHONPATH=no_systemd).stderr.splitlines()
    assert "<6>study_published study=1.2.3 instances=4 logger=staticwado_daemon.pipeline.line" in lines
    assert all(line.startswith(("<3>", "<4>", "<6>")) for line in lines)
    assert any(line.startswith("<3>Corrupt: record file 12ab") for line in lines)


def test_journal_entries_carry_fields(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/__init__.py").touch()
    (tmp_path / "systemd/journal.py").write_text(
        "import json\n\n\ndef sendv(*fields):\n    print(json.dumps(fields))\n"
    )
    ran = _run("info", "journal", PYTHONPATH=f"{tmp_path}:{Path.cwd()}")
    assert ran.stderr == ""
    assert json.loads(ran.stdout.splitlines()[0]) == [
        "MESSAGE=study_published study=1.2.3 instances=4 logger=staticwado_daemon.pipeline.line",
        "PRIORITY=6",
        "SYSLOG_IDENTIFIER=staticwado",
        "STATICWADO_STUDY=1.2.3",
        "STATICWADO_INSTANCES=4",
        "STATICWADO_EVENT=study_published",
        "STATICWADO_LOGGER=staticwado_daemon.pipeline.line",
    ]
    assert "DOE" not in ran.stdout


def test_who_may_have_no_socket_writes_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/__init__.py").touch()
    (tmp_path / "systemd/journal.py").write_text("def sendv(*fields):\n    raise PermissionError\n")
    ran = _run("info", "journal", PYTHONPATH=f"{tmp_path}:{Path.cwd()}")
    assert "<6>study_published study=1.2.3 instances=4 logger=staticwado_daemon.pipeline.line\n" in ran.stderr
    assert "DOE" not in ran.stderr


def test_a_stderr_that_refuses_costs_the_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        writes = 0

        def write(self, _: str) -> None:
            Refusing.writes += 1
            raise PermissionError

    handler = log._JournalHandler()
    monkeypatch.setattr(handler, "_journal", None)
    monkeypatch.setattr(sys, "stderr", Refusing())
    monkeypatch.setattr("logging.raiseExceptions", False)
    handler.emit(logging.LogRecord("staticwado_daemon", logging.INFO, "", 0, '{"event": "told"}', None, None))
    assert Refusing.writes == 1


def test_a_field_has_a_name_that_the_journal_takes() -> None:
    fields = log._fields("words", 4, {"event": "x", "what-of.it": 1})
    assert fields[-1] == "STATICWADO_WHAT_OF_IT=1"


def test_the_journal_is_recognised_by_its_stream(tmp_path: Path, no_systemd: str) -> None:
    script = textwrap.dedent(SCRIPT.format(level="info", style="auto"))
    with (tmp_path / "stderr").open("w+") as stderr:
        status = os.fstat(stderr.fileno())
        for stream, first in ((f"{status.st_dev}:{status.st_ino}", "<6>"), ("1:2", "{")):
            stderr.truncate(0)
            stderr.seek(0)
            environment = {**os.environ, "JOURNAL_STREAM": stream, "PYTHONPATH": no_systemd}
            subprocess.run([sys.executable, "-c", script], stderr=stderr, check=True, env=environment)
            stderr.seek(0)
            assert stderr.readline().startswith(first)


def test_the_configuration_travels_to_a_worker_process() -> None:
    prepare = functools.partial(log.configure, "info", "json")
    with multiprocessing.get_context("spawn").Pool(1, prepare) as pool:
        assert pool.apply(structlog.is_configured)


@pytest.mark.parametrize("words", ["''", "'x' * 3000", "'x' * 10_000", "'\u5c71' * 50_000"])
def test_a_pipe_that_nobody_reads_costs_lines_but_no_time(words: str) -> None:
    reading, writing = os.pipe()
    program = (
        "import structlog; from staticwado_daemon import log; log.configure('info', 'json')\n"
        "told = structlog.get_logger('staticwado_daemon.x').info\n"
        f"for number in range(3000): told('event', number=number, words={words})\n"
        "print('done', flush=True); input()\n"
        "structlog.get_logger('staticwado_daemon.x').info('afterwards')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing, text=True
    ) as process:
        os.close(writing)
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "done\n"
        before = os.read(reading, 1 << 20)
        process.stdin.write("\n")
        process.stdin.flush()
        with os.fdopen(reading, "rb") as lines:
            found = (before + lines.read()).splitlines()
    told = [json.loads(line) for line in found if line.endswith(b"}")]
    assert len(found) - len(told) <= 1, "one line may have been cut short"
    written = [each["number"] for each in told if each["event"] == "event"]
    assert written == list(range(len(written)))
    assert {"event": "log_lines_lost", "count": 3000 - len(written)}.items() <= told[-2].items()
    assert told[-1]["event"] == "afterwards"


def test_warnings_are_not_remembered() -> None:
    """Python keeps every text that it has warned of; pydicom's quote values, and a daemon runs for months."""
    program = (
        "import warnings; from staticwado_daemon import log; log.configure('info', 'json')\n"
        "for number in range(1000): warnings.warn(f'Invalid value: {number}')\n"
        "print(len(globals().get('__warningregistry__', {})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10
    assert not done.stderr
