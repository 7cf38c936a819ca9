"""Ctrl-C while a command starts: it ends soon, without a story, and leaves neither processes nor a locked tree."""

import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.archive.store import Store
from staticwado_daemon.pipeline import publishing
from tests import corpus
from tests.system.programs import REPOSITORY, STATICWADO, create, is_gone

MOMENTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.5)
"""Seconds after the start. Which of them is in the middle of what depends on the machine."""


@pytest.mark.parametrize(
    "moment",
    [*MOMENTS, *(pytest.param(n / 50 + 0.01, marks=pytest.mark.soak) for n in range(1, 80))],
)
@pytest.mark.parametrize("everybody", [False, True], ids=["by-pid", "from-a-terminal"])
def test_an_interrupt_is_no_story(tmp_path: Path, moment: float, *, everybody: bool) -> None:
    source = corpus.test_files()["pydicom/test_files/CT_small.dcm"]
    root = tmp_path / "root"
    started = subprocess.Popen(
        [*STATICWADO, "create", str(source), "--root", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )
    time.sleep(moment)
    if everybody:
        os.killpg(started.pid, signal.SIGINT)
    else:
        started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    # To a shell, one that died of the signal has returned 130 as well; 0, if it was done already.
    assert started.returncode in {0, 130, -signal.SIGINT}
    assert is_gone(started.pid), "processes are left behind"
    if started.returncode != 130 and "Traceback" in said:
        # It came while the interpreter was starting, or in the milliseconds until the first module has a say in it. If
        # that was in a callback of its own, the interpreter passes it over and says so, and all is done.
        ours = re.findall(rf'File "{re.escape(str(REPOSITORY))}/staticwado_daemon/(\S+)", line \d+, in (\S+)', said)
        assert set(ours) <= {(f"cli/{name}.py", "<module>") for name in ("__main__", "__init__", "interrupts")}
        return
    assert len(said.strip().splitlines()) <= 1, said
    assert not said.strip() or said.startswith("interrupted after ")
    if root.exists():
        assert lock_holder(root) is None
    again = create(root, [source])
    assert again["published"] + again["duplicate"] == 1


@pytest.mark.parametrize(
    ("meanwhile", "left"),
    [("signal.raise_signal(signal.SIGINT)", "duplicate"), ("raise KeyboardInterrupt", None)],
    ids=["first", "second"],
)
def test_an_interrupt_while_it_ends_leaves_nothing_behind(tmp_path: Path, meanwhile: str, left: str | None) -> None:
    """The first one waits until all is told; if a second one doesn't, the publisher still goes with the program."""
    source = corpus.test_files()["pydicom/test_files/CT_small.dcm"]
    root = tmp_path / "root"
    script = f"""
import signal, sys
from staticwado_daemon.cli.__main__ import main
from staticwado_daemon.pipeline.workers import WorkerProcesses
end = WorkerProcesses.__exit__
def interrupted(*arguments):
    end(*arguments)
    {meanwhile}
WorkerProcesses.__exit__ = interrupted
sys.argv = ["staticwado", "create", {str(source)!r}, "--root", {str(root)!r}]
if __name__ == "__main__":
    sys.exit(main())
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted after 1 of 1; run it again to go on\n")
    again = create(root, [source])
    assert again["published"] + again["duplicate"] == 1
    if left:
        assert again[left] == 1


def test_a_publisher_that_finds_the_tree_taken_and_nobody_to_tell_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LOCK_SECONDS", 0.0)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours, theirs = Pipe()
    ours.close()
    try:
        with Store(tmp_path / "root", None):
            publishing.run(theirs, tmp_path / "root", None, "create", lambda: None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
