"""Nothing that names a patient or a sender's file leaves the tree, the journal and the reasons beside rejected files.

A real daemon takes files of many patients, good and bad ones, among them some that end workers or meet faults of ours
whose words and local variables quote them. Logs, the report, metrics, process titles, thread names, and names of
temporary files are searched for what was planted.
"""

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.pipeline.report import REPORT
from tests.system import privacy, privacy_faults
from tests.system.privacy import KINDS, Patient, Seen
from tests.system.programs import PATIENCE, REPOSITORY, Place, started, staticwado, told, write_config
from tests.system.servers import free_port

COUNTS = [102, pytest.param(1002, marks=pytest.mark.soak)]


@dataclass(frozen=True, slots=True)
class Site(Place):
    """A daemon's place, and how it logs: "plain", "journal" or "verbose"."""

    style: str
    port: int

    def place(self, patient: Patient) -> Path:
        """Where the patient's file is delivered; senders name folders, too."""
        folder = self.directory / ("drop" if patient.number % 4 == 0 else f"inbound/ZQXJ folder {patient.number // 50}")
        return folder / patient.file_name

    def deliver(self, patients: Sequence[Patient]) -> None:
        for patient in patients:
            place = self.place(patient)
            place.parent.mkdir(exist_ok=True)
            part = place.with_name(place.name + ".part")
            part.write_bytes(patient.file())
            part.rename(place)

    def until_received(self, count: int) -> None:
        """Wait until so many files have their receipts."""
        self._until(lambda now: sum(now["receipts"].values()) >= count, f"{count} receipts")

    def until_idle(self, count: int) -> None:
        """Wait until so many files have their receipts and nothing is under way."""
        self._until(lambda now: now["idle"] and sum(now["receipts"].values()) >= count, f"idle with {count} receipts")

    def _until(self, condition: Callable[[dict[str, Any]], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(now := self.status()):
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}: {now}"
            time.sleep(0.05)

    @contextmanager
    def daemon(self, seen: Seen) -> Iterator[None]:
        """Run the daemon and spy on it until SIGTERM, upon which it must end well."""
        notices = self.directory / "notify"
        self.log.touch()
        stream = self.log.stat()
        environment = {
            "PYTHONPATH": f"{self.directory / 'site'}:{REPOSITORY}",
            "STATICWADO_FAULTS": "1",
            "TMPDIR": str(self.directory / "tmp"),
            "NOTIFY_SOCKET": str(notices),
            "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}" if self.style == "journal" else "",
        }
        options = ["-v"] if self.style == "verbose" else []
        with (
            privacy.service_manager(notices, seen),
            started(self.config, *options, **environment) as process,
            privacy.spying(seen, *self._looks(process.pid)),
        ):
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        seen.add("log", self.log.read_bytes())

    def _looks(self, group: int) -> Iterator[Callable[[Seen], None]]:
        yield privacy.look_at_processes(group)
        yield privacy.look_at_names(self.root / layout.PRIVATE, self.directory / "state", self.directory / "tmp")
        yield privacy.look_at_file(self.directory / "state" / REPORT)
        for page in ("metrics", "healthz"):
            yield privacy.look_at_url(f"http://127.0.0.1:{self.port}/{page}")

    def pester(self) -> None:
        """Ask the server for patients, in good and in bad requests."""
        for target in ("studies?PatientName=Zqxj*", "studies/1.2/zqxj", "studies/%zqxj/series", "../zqxj"):
            httpx.get(f"http://127.0.0.1:{self.port}/dicomweb/{target}", timeout=10)
        for request in (b"GET /zqxj\xff HTTP/9\r\n\r\n", b"zqxj\r\n\r\n", b"POST / HTTP/1.1\r\nX: zqxj\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", self.port)) as connection:
                connection.sendall(request)
                connection.settimeout(5)
                with suppress(OSError):
                    connection.recv(1000)


@pytest.fixture(params=["plain", "journal", "verbose"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    # Its own TMPDIR is part of it, and the path of a socket has room for 107 bytes: pytest's directories are too deep.
    with tempfile.TemporaryDirectory(prefix="privacy-") as name:
        directory = Path(name)
        for part in ("inbound", "drop", "site", "tmp"):
            (directory / part).mkdir()
        shutil.copy(privacy_faults.__file__, directory / "site/sitecustomize.py")
        made = Site(directory, request.param, free_port())
        daemon = {
            "inbound": [{"dir": str(directory / "inbound")}],
            "dropDir": str(directory / "drop"),
            "incompleteSeconds": 1,
            "serve": {"port": made.port},
        }
        write_config(directory, {"rootDir": str(directory / "root")}, daemon)
        yield made


@pytest.mark.parametrize("count", COUNTS)
def test_nobody_is_named(site: Site, count: int) -> None:
    patients = [Patient(number) for number in range(count)]
    first, second, third = patients[: count // 3], patients[count // 3 : count // 3 * 2], patients[count // 3 * 2 :]
    seen = Seen()
    with site.daemon(seen):
        site.deliver(first)
        site.until_received(len(first))
        site.pester()
        site.deliver(second)  # under way when the daemon is told to end
    beside = site.directory / "beside"
    beside.mkdir()
    with site.daemon(seen):
        site.deliver(third)
        for patient in third:
            (beside / patient.file_name).write_bytes(patient.file())
        _run(site, "create", beside)
        site.until_idle(count)
        _run(site, "rejected", "retry", "--all")
        site.until_idle(count)
        counts = site.status()["receipts"]
    _check_what_happened(site, seen, counts)
    if site.style == "verbose":
        seen.texts["log"] = {_own_words(text) for text in seen.texts["log"]}
    assert seen.leaks() == {}


def _run(site: Site, *words: str | Path) -> None:
    """Run a command of which some files will be rejected."""
    staticwado("-c", site.config, *words, expect=3)


def _check_what_happened(site: Site, seen: Seen, counts: dict[str, int]) -> None:
    """Make sure that there was something to be found out, and that it was looked for everywhere."""
    assert all(counts[outcome] for outcome in ("published", "duplicate", "superseded", "rejected", "ignored"))
    places = {"log", "processes", "threads", "names", REPORT, "metrics", "healthz", "service manager"}
    assert set(seen.texts) >= places
    log = b"".join(seen.texts["log"])
    for event in (
        b"daemon_started",
        b"worker_lost",
        b"ingest_failed",
        b"request_taken",
        b"files_done",
        b"daemon_stopped",
    ):
        assert event in log
    answer = json.loads(told("-c", site.config, "rejected", "list", "--json", "--limit", "5000"))
    reasons = {each["reason"] for each in answer["rejected"]}
    assert any("died" in reason for reason in reasons)
    assert any("internal error" in reason for reason in reasons)
    assert privacy.planted(json.dumps(answer).encode()), "those who look after it are told which files"


def _own_words(log: bytes) -> bytes:
    """What is ours of a log that shows everything: libraries and exceptions speak there, as its option says."""
    events = [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]
    own = [event for event in events if event.get("logger", "").startswith("staticwado_daemon")]
    return "\n".join(json.dumps({**event, "exception": ""}, ensure_ascii=False) for event in own).encode()


def test_what_is_planted_is_found() -> None:
    patients = [Patient(number) for number in range(27)]
    assert {patient.kind for patient in patients} == set(KINDS)
    for patient in patients:
        assert privacy.planted(patient.file())
        assert privacy.planted(os.fsencode(patient.file_name))
    assert privacy.planted(b"born 18650412, says {'x': 'ZQXJ'}") == [b"'ZQXJ'}", b"18650412"]
    assert privacy.planted(b"2026-11-22 20:18:16 1.2.18650412.3 published=18") == []
