"""kill -9 of the SCP or of who sends to it: what was answered with success is published once, and nothing in part."""

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from staticwado_daemon.inbound import drop
from tests import corpus
from tests.crash.oracle import leftovers, originals, unreadable
from tests.system import dcmtk
from tests.system.listening import until_listening
from tests.system.nodes import Node, prepare, published
from tests.system.programs import REPOSITORY, STATICWADO, running

FILES = 12
"""So many are new in each run; those without an answer are sent again, as senders do."""

_STEP_SECONDS = 0.01
"""An object is received within that."""

_SENT = re.compile(r"Sending file: (\S+)|Received Store Response \((\w+)")
_META_LENGTH_AT = 140


@dataclass(slots=True)
class Ordeal:
    """A node whose SCP and whose senders are killed.

    Attributes:
        node: with a daemon that nobody disturbs.
        chance: decides who dies, and when.
        pending: what no sender has an answer to.
        answered: what was answered with success.
        deaths: of whom, and how often something was under way.
    """

    node: Node
    chance: random.Random
    pending: list[Path] = field(default_factory=list)
    answered: set[Path] = field(default_factory=set)
    deaths: Counter[str] = field(default_factory=Counter)
    scp: "subprocess.Popen[bytes] | None" = None

    def run(self, number: int, files: list[Path]) -> None:
        """Send, and kill the SCP, the sender, or both at some moment."""
        self.pending += files
        if self.scp is None:
            self.scp = self._start()
        log = self.node.directory / f"storescu-{number}.log"
        with log.open("wb") as output:
            sender = subprocess.Popen(
                [dcmtk.program("storescu"), "-v", "127.0.0.1", str(self.node.port), *map(str, self.pending)],
                stdout=output,
                stderr=output,
                env=dcmtk.environment(),
            )
        # On a busy machine, too, all moments between the first object and the last one are met.
        most = self.chance.randrange(FILES)
        while log.read_bytes().count(b"Sending file") < most and sender.poll() is None:
            time.sleep(0.001)
        time.sleep(self.chance.uniform(0.0, _STEP_SECONDS))
        victim = self.chance.choice(("scp", "scp", "sender", "sender", "both"))
        if sender.poll() is None:
            self.deaths[victim] += 1
        if victim != "sender":
            self.kill()
        if victim != "scp":
            sender.kill()
        sender.wait(60)
        answered = _answered(log)
        self.answered |= answered
        self.pending = [path for path in self.pending if path not in answered]

    def kill(self) -> None:
        """kill -9 of the SCP."""
        if self.scp is not None:
            os.killpg(self.scp.pid, signal.SIGKILL)
            self.scp.wait(10)
            self.scp = None

    def finish(self) -> None:
        """Send the rest undisturbed."""
        if self.scp is None:
            self.scp = self._start()
        while self.pending:
            log = self.node.directory / "storescu-last.log"
            log.write_text(dcmtk.run("storescu", "-v", "127.0.0.1", self.node.port, *self.pending))
            self.answered |= _answered(log)
            self.pending = [path for path in self.pending if path not in self.answered]
        self.scp.send_signal(signal.SIGTERM)
        assert self.scp.wait(60) == 0
        self.scp = None

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.node.scp_log.open("ab") as output:
            scp = subprocess.Popen(
                [*STATICWADO, "-c", str(self.node.config), "scp"],
                stdout=output,
                stderr=output,
                env={**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)},
                cwd=REPOSITORY,
                start_new_session=True,
            )
        until_listening(self.node.port, scp)
        return scp


def _answered(log: Path) -> set[Path]:
    """What storescu has sent and has been told is stored."""
    answered: set[Path] = set()
    current = Path()
    for sent, status in _SENT.findall(log.read_text(errors="replace")):
        if sent:
            current = Path(sent)
        elif status == "Success":
            answered.add(current)
        else:
            raise AssertionError(f"{current.name} was answered with {status}")
    return answered


def _data_set(part10: bytes) -> bytes:
    at = _META_LENGTH_AT
    return part10[at + 4 + int.from_bytes(part10[at : at + 4], "little") :]


@pytest.mark.parametrize("runs", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_what_was_answered_is_published_once_and_nothing_in_part(tmp_path: Path, runs: int) -> None:
    files = list(corpus.ct_study(tmp_path / "sources", instances=FILES * runs, series=4, size=256).files)
    random.Random(runs).shuffle(files)
    ordeal = Ordeal(prepare(tmp_path / "node"), random.Random(runs))
    node = ordeal.node
    with running(node.config):
        try:
            for number in range(runs):
                ordeal.run(number, files[FILES * number : FILES * (number + 1)])
            before = set(ordeal.answered)
            ordeal.finish()
        finally:
            with suppress(ProcessLookupError):
                ordeal.kill()
        published(node, len(files))
        status = node.status()
    assert ordeal.answered == set(files)
    assert len(before) > runs, "hardly anything was answered before the end"
    assert min(ordeal.deaths[each] for each in ("scp", "sender")) > runs // 10, ordeal.deaths
    assert (status["instances"], status["rejected"]) == (len(files), 0)
    assert status["receipts"]["published"] == len(files)
    assert Counter(map(_data_set, originals(node.root).elements())) == Counter(
        _data_set(each.read_bytes()) for each in files
    )
    assert leftovers(node.root) == []
    assert unreadable(node.root) == []
    assert list((node.drop / drop.PART).rglob("*")) == []
    assert list((node.drop / drop.REJECTED).iterdir()) == []
    assert list(node.drop.glob("*.dcm")) == []
