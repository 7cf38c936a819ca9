"""Ctrl-C: put off while a process is being started, and never the cause of a story."""

import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from staticwado_daemon import cli
from staticwado_daemon.cli.interrupts import interrupts_end_it
from staticwado_daemon.pipeline.interrupts import interrupts_put_off


@pytest.fixture(autouse=True)
def _pythons_own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _start(done: list[str], interrupts: int) -> None:
    with interrupts_put_off():
        for _ in range(interrupts):
            signal.raise_signal(signal.SIGINT)
        done.append("started")


def test_the_first_one_comes_at_the_end_of_the_block() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _start(done, interrupts=1)
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_one_comes_at_once() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _start(done, interrupts=2)
    assert done == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_programs_handler_stays_while_modules_are_loaded() -> None:
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    with interrupts_end_it():
        signal.raise_signal(signal.SIGINT)
    assert heard == [True]


def test_what_an_interrupt_breaks_is_no_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TypeError

    def fail_by_interrupt(*_: object) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise TypeError

    monkeypatch.setattr(cli, "execute", fail)
    with pytest.raises(TypeError):
        cli.main()
    monkeypatch.setattr(cli, "execute", fail_by_interrupt)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
