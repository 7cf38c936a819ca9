"""What one thread sees while another goes on, tried out at every step that the reader takes."""

import itertools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

_Seen = TypeVar("_Seen")


def at_every_step(begin: Callable[[], tuple[Callable[[], _Seen], Callable[[], object]]]) -> Iterator[_Seen]:
    """Yield what is read when something happens before the reader's first bytecode, its second, and so on to the last.

    Args:
        begin: makes both anew: what reads, and what happens meanwhile.
    """
    for step in itertools.count():
        read, happen = begin()
        seen, happened = _at_step(step, read, happen)
        yield seen
        if not happened:
            return


def _at_step(step: int, read: Callable[[], _Seen], happen: Callable[[], object]) -> tuple[_Seen, bool]:
    left = step

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                sys.settrace(None)
                happen()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        seen = read()
    finally:
        sys.settrace(before)
    return seen, left < 0
