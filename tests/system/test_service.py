"""The daemon as a service: what it tells its manager, how it ends, and whether it bears its sandbox."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import corpus
from tests.system.programs import PATIENCE, REPOSITORY, STATICWADO, is_gone, started, write_config

UNITS = REPOSITORY / "systemd"
STOP_SECONDS = 10.0
SLOW_FILES = 12
"""More than any machine does until it first says how many files are done."""
_FORBID_WRITABLE_CODE = "import ctypes, os, sys\nassert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n"


@dataclass(slots=True)
class Manager:
    """systemd's end of the line: a socket that remembers what came when."""

    path: Path
    heard: list[tuple[float, str]] = field(default_factory=list)

    def listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while words := listener.recv(65536).decode():
                self.heard += [(time.monotonic(), line) for line in words.splitlines()]

    def count(self, words: str, since: float = 0.0) -> int:
        """How many lines began so (a regular expression)."""
        return sum(re.match(words, line) is not None for at, line in self.heard if at >= since)

    def until(self, words: str, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.count(words):
            assert process.poll() is None, f"the daemon ended with {process.returncode}"
            assert time.monotonic() < deadline, f"never heard {words}, but {self.heard}"
            time.sleep(0.05)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        manager = Manager(tmp_path / "notify")
        thread = threading.Thread(target=manager.listen, args=(listener,))
        thread.start()
        yield manager
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(manager.path))
        thread.join()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "inbound").mkdir()
    return write_config(
        tmp_path, {"rootDir": str(tmp_path / "root")}, {"inbound": [{"dir": str(tmp_path / "inbound")}]}
    )


def test_the_manager_hears_ready_counts_signs_of_life_and_the_end(
    tmp_path: Path, config: Path, manager: Manager
) -> None:
    study = corpus.ct_study(tmp_path / "prepared", instances=3, series=1, size=64)
    with started(config, NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="2000000") as process:
        manager.until("READY=1", process)
        for path in study.files:
            shutil.copy(path, tmp_path / "inbound")
        manager.until("STATUS=3 published, 0 rejected, 0 waiting", process)
        manager.until("WATCHDOG=1", process)
        assert manager.count("STOPPING") == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    assert manager.count("STOPPING=1") == 1
    assert manager.count("READY=1") == 1
    told = {line.partition("=")[0] for _, line in manager.heard}
    assert told == {"READY", "STATUS", "WATCHDOG", "STOPPING"}
    assert not any(study.uid in line or ".dcm" in line for _, line in manager.heard)


def test_signs_of_life_end_with_the_work_loop(config: Path, manager: Manager) -> None:
    with started(config, NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="1000000") as process:
        manager.until("WATCHDOG=1", process)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # what was on its way
        stopped = time.monotonic()
        time.sleep(1.5)
        assert manager.count("", since=stopped) == 0
        process.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        assert manager.count("WATCHDOG=1", since=stopped) >= 2


def test_a_manager_that_waits_in_vain_is_explained(tmp_path: Path, config: Path) -> None:
    (tmp_path / "without/systemd").mkdir(parents=True)
    (tmp_path / "without/systemd/__init__.py").write_text("raise ImportError")
    search = f"{tmp_path / 'without'}:{REPOSITORY}"
    with started(config, NOTIFY_SOCKET=str(tmp_path / "notify"), PYTHONPATH=search) as process:
        assert process.wait(60) == 2
    (line,) = (tmp_path / "daemon.log").read_text().splitlines()
    assert "pip install 'staticwado-daemon[systemd]'" in line


@pytest.mark.parametrize("files", [200, pytest.param(2000, marks=pytest.mark.soak)])
def test_sigterm_is_obeyed_soon_under_load(tmp_path: Path, config: Path, manager: Manager, files: int) -> None:
    for path in corpus.ct_study(tmp_path / "prepared", instances=files, series=4, size=512).files:
        path.rename(tmp_path / "inbound" / path.name)
    slow = corpus.us_rgb_multiframe(tmp_path / "slow", frames=30).files[0].read_bytes()
    uid = corpus.uid("us-rgb", 1, 1)
    for number in range(SLOW_FILES):
        other = f"{uid[:-2]}{number + 10}"
        (tmp_path / f"inbound/2-slow-{number}.dcm").write_bytes(slow.replace(uid.encode(), other.encode()))
    with started(config, NOTIFY_SOCKET=str(manager.path)) as process:
        manager.until("STATUS=[1-9][0-9,]* published", process)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - began <= STOP_SECONDS
        assert is_gone(process.pid, began + STOP_SECONDS - time.monotonic()), "processes were left behind"
    report = json.loads((tmp_path / "state/status.json").read_text())
    assert 0 < report["published"] < files + SLOW_FILES, "it wasn't under load"


def test_the_daemon_works_without_memory_that_is_writable_and_executable(
    tmp_path: Path, config: Path, manager: Manager
) -> None:
    """MemoryDenyWriteExecute=: the kernel's own form of it (PR_SET_MDWE, Linux 6.3), which children inherit."""
    files = {path.name: path for path in corpus.test_files().values()}
    names = (
        "CT_small.dcm",
        "JPEG2000.dcm",
        "SC_rgb_rle.dcm",
        "examples_ybr_color.dcm",
        "emri_small_jpeg_ls_lossless.dcm",
    )
    for name in names:
        shutil.copy(files[name], tmp_path / "inbound")
    start = f"{_FORBID_WRITABLE_CODE}os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = (sys.executable, "-c", start, *STATICWADO[1:])
    with started(config, command=command, NOTIFY_SOCKET=str(manager.path)) as process:
        manager.until(f"STATUS={len(names)} published, 0 rejected, 0 waiting", process)


def test_the_test_of_writable_code_can_fail() -> None:
    script = f"{_FORBID_WRITABLE_CODE}import mmap\nmmap.mmap(-1, 4096, prot=7)"
    assert subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, check=False).returncode == 1


def test_journal_entries_of_every_process_have_fields(tmp_path: Path, config: Path) -> None:
    """A journald of our own, in a file system of its own: entries arrive as datagrams with a field a line."""
    shutil.copy(corpus.test_files()["pydicom/test_files/CT_small.dcm"], tmp_path / "inbound")
    script = (REPOSITORY / "tests/system/journal.py").read_text()
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", "--mount", *rights, sys.executable, "-c", script, *STATICWADO, "-c", str(config), "run"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env={**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)},
    )
    entries = [dict(line.split("=", 1) for line in entry) for entry in json.loads(done.stdout.splitlines()[-1])]
    assert entries
    for entry in entries:
        assert entry["SYSLOG_IDENTIFIER"] == "staticwado"
        assert entry["PRIORITY"] == "6"
        assert entry["MESSAGE"].startswith(entry["STATICWADO_EVENT"])
        assert set(entry) <= {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"} | {
            n for n in entry if n.startswith("STATICWADO_")
        }
    done_files = next(entry for entry in entries if entry["STATICWADO_EVENT"] == "files_done")
    assert done_files["STATICWADO_PUBLISHED"] == "1"
    assert "CT_small" not in done.stdout + done.stderr


@pytest.mark.parametrize("unit", ["staticwado.service", "staticwado-doctor.service", "staticwado-scp.service"])
def test_the_sandbox_leaves_little_open(unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / unit],
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure
    assert float(exposure[1]) <= 2.0


def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    units = []
    for unit in sorted(UNITS.glob("staticwado*.*")):
        # The program stands elsewhere on this machine.
        text = unit.read_text().replace("/opt/staticwado/bin/staticwado", sys.executable)
        (tmp_path / unit.name).write_text(text)
        units.append(tmp_path / unit.name)
    assert len(units) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "staticwado" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_users_and_directories_are_made_as_the_files_say(tmp_path: Path) -> None:
    for directory in ("etc", "usr", "var/lib"):
        (tmp_path / directory).mkdir(parents=True)
    root = f"--root={tmp_path}"
    subprocess.run(["systemd-sysusers", root, UNITS / "sysusers.d/staticwado.conf"], check=True, capture_output=True)
    (entry,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("staticwado:")]
    assert entry.split(":")[5:] == ["/var/lib/staticwado", "/usr/sbin/nologin"]
    subprocess.run(
        ["systemd-tmpfiles", "--create", root, UNITS / "tmpfiles.d/staticwado.conf"],
        check=os.geteuid() == 0,  # only root gives a directory away
        capture_output=True,
    )
    assert (tmp_path / "var/lib/staticwado").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("unit", sorted(UNITS.glob("staticwado*.service")), ids=lambda path: path.name)
def test_every_hardening_line_is_explained(unit: Path) -> None:
    """An administrator learns from the line above a setting, or above the block that it stands in, why it is there."""
    lines = unit.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(
            r"(Protect|Private|Restrict|System|Memory|Cap|Ambient|NoNew|Lock|Keyring|RemoveIPC|IPAddress)", line
        ):
            block = lines[:number]
            while block and not block[-1].startswith("#") and block[-1]:
                block.pop()
            assert block, line
            assert block[-1].startswith("#"), f"{line} has no word of explanation"
