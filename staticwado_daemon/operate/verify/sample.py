"""Which part of an archive is looked at today."""

import hashlib
from dataclasses import dataclass

_WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of all paths, chosen as if by chance, and the same one for the same seed.

    Attributes:
        percent: from 0 to 100.
        seed: another one chooses another part.
    """

    percent: float
    seed: str

    def has(self, path: str) -> bool:
        """Whether a path belongs to it."""
        digest = hashlib.sha256(f"{self.seed}\0{path}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.percent / 100 * _WHOLE


EVERYTHING = Sample(100, "")
