"""What docs/operating.md shows of `staticwado doctor` is what it says of such machines.

The machine that the tests run on has a clock, a disk and ports of its own, so these are left out.
"""

import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from staticwado_daemon.operate.doctor import disk, machine
from staticwado_daemon.operate.doctor.finding import attention, fine
from staticwado_daemon.web.nginx import nginx_config
from tests import corpus
from tests.system.programs import REPOSITORY, STATICWADO, Daemon, started, told, write_config
from tests.system.servers import free_port, start_nginx

PAGE = (REPOSITORY / "docs/operating.md").read_text(encoding="utf-8")
HEALTHY, TROUBLED = re.findall(r"^```console\n\$ staticwado doctor\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COEP = 'add_header Cross-Origin-Embedder-Policy "require-corp" always;'
FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm")
CHANGING = (
    (r"\n {22}", " "),
    (r"(?m)^  (?:OK|!!)  (clock|disk) .*$", r"\1"),
    (r"\b[0-9]+(?:\.[0-9]+){6,}", "UID"),
    (r"[0-9,]+(?= watches)", "N"),
    (r"(?<=  file system  )( *)\w+", "KIND"),
    (" +", " "),
)
# The unit's sandbox: a mount namespace in which the folder can't be written to.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
NAMESPACE = ("unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", READ_ONLY)


@dataclass(frozen=True, slots=True)
class Machine:
    """A tree, a folder that is to be emptied, and a port for nginx."""

    directory: Path
    port: int

    @property
    def root(self) -> Path:
        return self.directory / "tree"

    @property
    def inbound(self) -> Path:
        return self.directory / "inbound"

    @property
    def config(self) -> Path:
        return self.directory / "static-wado.json5"

    def configure(self) -> None:
        self.directory.chmod(0o755)  # nginx's workers are somebody else
        self.inbound.mkdir()
        (self.directory / "ohif").mkdir()
        (self.directory / "ohif/index.html").write_text("<!doctype html><title>viewer</title>")
        inbound = [{"dir": str(self.inbound), "afterIngest": "delete"}]
        state = str(self.root / ".staticwado")
        write_config(self.directory, {"rootDir": str(self.root)}, {"inbound": inbound, "stateDir": state})

    @contextmanager
    def at_work(self, *sandbox: str, without: str = "") -> Iterator[Daemon]:
        """The daemon, and nginx whose configuration has lost some words; all files are published and gone."""
        with started(self.config, command=(*sandbox, *STATICWADO)) as process:
            daemon = Daemon(self.config, process)
            daemon.until(lambda: (now := daemon.status())["idle"] and now["published"] == len(FILES), "all published")
            daemon.until(lambda: daemon.status()["state"] == "ok", "all is well")
            ours = nginx_config(self.root, f"127.0.0.1:{self.port}", self.directory / "ohif")
            with start_nginx(ours.replace(without, ""), self.directory / "nginx", self.port):
                yield daemon

    def doctor(self, *, expect: int) -> str:
        """What it says, with the names of the documentation."""
        text = told("-c", self.config, "doctor", "--url", f"http://127.0.0.1:{self.port}", expect=expect)
        user = pwd.getpwuid(os.geteuid()).pw_name
        for ours, documented in (
            (str(self.config), "/etc/static-wado.json5"),
            (str(self.root), "/var/lib/staticwado"),
            (str(self.inbound), "/dicom"),
            (f"127.0.0.1:{self.port}", "127.0.0.1:8080"),
            (f" {user} may", " staticwado may"),
        ):
            text = text.replace(ours, documented)
        return text


def same(text: str) -> list[str]:
    """The lines of a report without what is the machine's own."""
    for pattern, replacement in CHANGING:
        text = re.sub(pattern, replacement, text)
    return text.splitlines()


@pytest.fixture
def here() -> Iterator[Machine]:
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory), free_port())
        machine.configure()
        yield machine


def test_the_reports_are_what_it_says(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "room", lambda *_: fine("enough"))
    monkeypatch.setattr(machine, "clock", lambda: fine("synchronised"))
    for name in FILES:
        shutil.copy(corpus.test_files()[f"pydicom/test_files/{name}"], here.inbound)
    with here.at_work():
        assert same(here.doctor(expect=0)) == same(HEALTHY)
    monkeypatch.setattr(machine, "clock", lambda: attention("not synchronised"))
    with here.at_work(*NAMESPACE, str(here.inbound), without=COEP):
        assert same(here.doctor(expect=3)) == same(TROUBLED)


def test_only_what_is_the_machines_own_may_differ() -> None:
    assert same(HEALTHY) != same(TROUBLED)
    other = HEALTHY.replace("ext4", "xfs").replace("192,536", "8,192").replace("64.9 GB", "1.0 GB")
    assert other != HEALTHY
    assert same(other) == same(HEALTHY)
    for word in ("healthy", "isolated", "4 published", "www-data", "15 checks"):
        assert same(HEALTHY.replace(word, "x")) != same(HEALTHY), word


def test_no_example_of_another_command_is_left_unproven() -> None:
    shown = set(re.findall(r"^```console\n\$ staticwado (\w+)", PAGE, re.MULTILINE))
    assert shown == {"doctor", "status", "explain", "rejected"}
