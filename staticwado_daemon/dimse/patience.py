"""How often something is tried again on the network, and after which pauses."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_MOST_DOUBLINGS = 32
"""Beyond these every pause is the longest one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often something is tried again.

    Attributes:
        tries: how often in a row nothing may come of it before it is given up.
        first_seconds: the first pause.
        longest_seconds: no pause is longer.
        wait: waits so many seconds; what it returns is true if there is nobody to wait for.
    """

    tries: int = 6
    first_seconds: float = 1.0
    longest_seconds: float = 30.0
    wait: Callable[[float], object] = time.sleep

    def pause(self, tries: int) -> bool:
        """Wait after so many tries in a row that brought nothing; False if they were enough."""
        if tries >= self.tries:
            return False
        return not self.wait(pause_seconds(tries, self.first_seconds, self.longest_seconds))


PATIENT = Patience()


def pause_seconds(tries: int, first: float, longest: float) -> float:
    """How long to wait after so many tries in a row that brought nothing: each time twice as long as before.

    Args:
        tries: from 1.
        first: the first pause.
        longest: no pause is longer.
    """
    return min(longest, first * 2.0 ** min(_MOST_DOUBLINGS, max(0, tries - 1)))
