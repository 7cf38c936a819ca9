"""Statuses of answers, by name, and what they mean in words (PS3.7 annex C; PS3.4 annexes B and C)."""

from typing import Final

from pydicom.dataset import Dataset

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WITH_WARNING: Final = 0xFF01
"""A match, of which something that was asked for isn't supported (PS3.4 C.4.1.1.4)."""
CANCELLED: Final = 0xFE00
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_COUNT: Final = 0xA701
CANNOT_PERFORM: Final = 0xA702
UNKNOWN_DESTINATION: Final = 0xA801
MISMATCH: Final = 0xA900
SOME_FAILED: Final = 0xB000
UNABLE_TO_PROCESS: Final = 0xC000

LONGEST_COMMENT: Final = 64
"""Characters of Error Comment (0000,0902), whose VR is LO."""

_WORDS = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "it has this instance already",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance don't agree",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "refused: SOP class not supported",
    0x0124: "refused: not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    CANNOT_COUNT: "refused: out of resources, unable to count the matches",
    CANNOT_PERFORM: "refused: out of resources, unable to perform sub-operations",
    UNKNOWN_DESTINATION: "refused: move destination unknown",
    MISMATCH: "refused: data set or identifier does not match the SOP class",
    SOME_FAILED: "done with a warning: elements coerced, or some of it failed",
    0xB006: "stored with a warning: elements discarded",
    0xB007: "stored with a warning: data set does not match the SOP class",
    CANCELLED: "cancelled",
}
_RANGES = (
    (0xA700, 0xA7FF, "refused: out of resources"),
    (0xA800, 0xA8FF, "refused: SOP class not supported"),
    (0xA900, 0xA9FF, "refused: data set does not match the SOP class"),
    (0xB000, 0xBFFF, "done with a warning"),
    (0xC000, 0xCFFF, "failed: cannot understand or process it"),
)


def is_warning(status: int) -> bool:
    """Whether it was done, but not quite as asked for (PS3.7 C.4)."""
    return status in {0x0001, 0x0107, 0x0116} or 0xB000 <= status <= 0xBFFF


def is_pending(status: int) -> bool:
    """Whether there is more to come."""
    return status in {PENDING, PENDING_WITH_WARNING}


def is_passing(status: int) -> bool:
    """Whether trying again may help: the peer is out of resources now."""
    return 0xA700 <= status <= 0xA7FF or status == 0x0213


def words(status: int, added: str = "") -> str:
    """What a status means, with its number and what the peer adds to it."""
    meant = _WORDS.get(status) or next((text for low, high, text in _RANGES if low <= status <= high), "unknown status")
    said = f", “{added}”" if added else ""
    return f"{meant} (0x{status:04X}{said})"


def comment(text: str) -> str:
    """A text as an Error Comment: in ASCII, and no longer than one may be."""
    return text.encode("ascii", "replace").decode()[:LONGEST_COMMENT]


def told(answer: Dataset) -> str:
    """What an answer says: its status and its Error Comment (0000,0902), which is for people."""
    said = str(answer.get("ErrorComment", "") or "").strip()
    return words(int(answer.Status), said if said.isprintable() else ascii(said))
