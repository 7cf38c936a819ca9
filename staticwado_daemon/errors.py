"""The one exception hierarchy.

An error is either returned to who can act on it or logged, never both.
"""


class StaticwadoError(Exception):
    """Anything staticwado raises on purpose; its text is one sentence for people."""


class Rejected(StaticwadoError):
    """The input can't be stored; `reason` says why, without naming patient or sender."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Incomplete(Rejected):
    """The input ends before it says it does: perhaps it is still being copied."""


class Ignored(StaticwadoError):
    """The input is none of ours (a DICOMDIR, a text file); `reason` says what it is."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Transient(StaticwadoError):
    """Trying again later may help (the file changed while it was read, the disk is full)."""


class Corrupt(StaticwadoError):
    """Something in the archive isn't what its name or record says."""


class ConfigError(StaticwadoError):
    """The configuration or the command line can't be obeyed; the text says what to change."""
