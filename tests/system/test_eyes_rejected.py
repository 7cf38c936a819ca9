"""`rejected` and `status --watch` as people and programs use them: beside a running daemon, and without one."""

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import corpus
from tests.system.eyes import Site, at_work, prepare
from tests.system.programs import PATIENCE, REPOSITORY, STATICWADO, Daemon, running, staticwado


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Site, Daemon]]:
    """While a daemon runs that has done its work."""
    site = prepare(tmp_path)
    with at_work(site) as daemon:
        yield site, daemon


def test_rejected_files_are_listed_with_where_they_are(site: Site) -> None:
    told = json.loads(site.told("rejected", "list", "--json"))
    assert told["total"] == 2
    places = {each["path"]: (each["place"], each["setAside"]) for each in told["rejected"]}
    aside = str(site.directory / "drop/rejected/handed-over.dcm")
    assert places == {
        str(site.inbound / "bad.dcm"): ("there", None),
        str(site.directory / "drop/handed-over.dcm"): ("set aside", aside),
    }
    printed = site.told("rejected", "list")
    assert f"drop/handed-over.dcm, now {aside}\n" in printed
    assert printed.count("no Study Instance UID (0020,000D)\n") == 2
    assert site.told("rejected", "list", "--limit", "1").endswith("\n… and 1 older ones: see --limit\n")
    assert site.told("rejected", "list", "--reason", "STUDY instance").count("\n") == 4
    assert site.told("rejected", "list", "--reason", "nothing") == "nothing was rejected because of nothing\n"


@pytest.mark.parametrize("words", [[], ["--all", "--reason", "x"], ["x.dcm", "--all"]])
def test_what_is_to_be_tried_again_must_be_said(site: Site, words: list[str]) -> None:
    site.told("rejected", "retry", *words, expect=2)


def test_only_what_was_not_stored_is_tried_again(site: Site, tmp_path: Path) -> None:
    site.told("rejected", "retry", site.study.files[1], expect=1)
    (tmp_path / "never.dcm").touch()
    site.told("rejected", "retry", tmp_path / "never.dcm", expect=1)
    assert site.told("rejected", "retry", "--reason", "no such reason") == "there is nothing to try again\n"


def test_a_running_daemon_tries_again_and_answers_for_each_file(live: tuple[Site, Daemon]) -> None:
    site, daemon = live
    aside = site.directory / "drop/rejected/handed-over.dcm"
    answer = json.loads(site.told("rejected", "retry", "--all", "--json", expect=3))
    assert answer["rejected"] == len(answer["receipts"]) == 2
    daemon.wait_until_idle()
    assert aside.exists(), "it went back, was rejected again and set aside again"
    assert daemon.status()["rejected"] == 2
    # What is mended meanwhile is stored: one by its name, the other by the one that it has where it was set aside.
    shutil.copy(corpus.test_files()["pydicom/test_files/MR_small.dcm"], site.inbound / "bad.dcm")
    daemon.until(lambda: daemon.status()["rejected"] == 1, "the mended file, which needs no asking")
    answer = json.loads(site.told("rejected", "retry", aside, "--json", expect=3))
    assert [(each["path"], each["outcome"]) for each in answer["receipts"]] == [
        (str(site.directory / "drop/handed-over.dcm"), "rejected")
    ]
    daemon.wait_until_idle()
    assert (daemon.status()["rejected"], daemon.status()["published"]) == (1, 9)


def test_a_file_that_still_ends_too_early_is_answered_for_as_waiting(live: tuple[Site, Daemon]) -> None:
    site, daemon = live
    cut = site.inbound / "cut.dcm"
    part = cut.with_suffix(".part")
    part.write_bytes(site.study.files[1].read_bytes()[:-100])
    staticwado("-c", site.config, "create", part, expect=3)
    part.rename(cut)
    daemon.until(lambda: daemon.status()["waiting"] == 1, "the daemon to wait for the rest")
    told = json.loads(site.told("rejected", "list", "--json", "--reason", "end"))
    assert [each["place"] for each in told["rejected"]] == ["gone"], "it has another name now"
    assert "it ended too early" not in site.told("explain", cut)
    assert "ended too early and may go on" in site.told("explain", cut)


def test_without_a_daemon_the_command_does_it_itself(tmp_path: Path) -> None:
    site = prepare(tmp_path)
    with running(site.config) as daemon:
        daemon.until(lambda: daemon.status()["idle"] and daemon.status()["rejected"] == 2, "both rejected")
    answer = json.loads(staticwado("-c", site.config, "rejected", "retry", "--reason", "no Study", "--json", expect=3))
    assert answer["rejected"] == 2
    assert (tmp_path / "drop/handed-over.dcm").exists(), "back, for the next daemon to deal with"
    with running(site.config) as daemon:
        daemon.until(lambda: not (tmp_path / "drop/handed-over.dcm").exists(), "the file's removal")
        daemon.wait_until_idle()
        assert daemon.status()["rejected"] == 2
    assert (tmp_path / "drop/rejected/handed-over.dcm").exists()


def test_who_watches_on_a_terminal_sees_one_page_that_changes(live: tuple[Site, Daemon]) -> None:
    site, _ = live
    leader, follower = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "xterm-256color",
        "COLUMNS": "80",
        "LINES": "50",
    }
    process = subprocess.Popen(
        [*STATICWADO, "-c", str(site.config), "status", "--watch"], stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    os.set_blocking(leader, False)
    shown = b""
    deadline = time.monotonic() + PATIENCE
    while shown.count(b"last publish") < 3:
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)
        try:
            shown += os.read(leader, 65536)
        except BlockingIOError:
            continue
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    os.close(leader)
    assert b"OK" in shown
    assert b"\x1b[1A" in shown, "the page is written over the one before"
    assert b"Traceback" not in shown
