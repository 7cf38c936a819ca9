"""What our DICOM node says of itself, for `status`, metrics and `doctor`; and whether it is there to say it."""

import time
from pathlib import Path
from typing import Literal, get_args

import msgspec

from staticwado_daemon.pipeline.report import FRESH_SECONDS
from staticwado_daemon.pipeline.struct_file import lives, read_struct

REPORT = "scp.json"
"""The file's name below the state directory."""

Operation = Literal["C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE", "N-ACTION", "N-EVENT-REPORT", "sent"]
"""What is done on associations: what others ask of us, and `sent` for each object that we send on one."""
StatusClass = Literal["success", "warning", "failure", "cancelled"]
Outcome = Literal["released", "aborted", "timeout", "rejected", "broken"]
"""How an association ended: by the peer's release, by an abort of either side or a lost connection, by our patience, or
before it began: rejected by a rule, or never properly requested."""

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
STATUS_CLASSES: tuple[StatusClass, ...] = get_args(StatusClass)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

Counts = dict[Operation, dict[StatusClass, int]]


class NetworkReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of the DICOM node, and what it did since its start.

    Attributes:
        running: false in the last report before the end.
        pid: of the process.
        title: the AE title.
        host: the address that it listens on.
        port: of TCP.
        tls: whether it speaks TLS.
        open: associations that are open.
        associations: ended ones, by how.
        operations: how many of each were done, by the class of their status (PS3.7 annex C); pending ones don't count.
        received_bytes: of data sets, stored or not.
        sent_bytes: of data sets.
    """

    running: bool
    pid: int
    title: str
    host: str
    port: int
    tls: bool
    open: int = 0
    associations: dict[Outcome, int] = {}
    operations: Counts = {}
    received_bytes: int = 0
    sent_bytes: int = 0

    @property
    def address(self) -> str:
        """`TITLE@host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"

    def done(self, operation: Operation, *classes: StatusClass) -> int:
        """How many of an operation ended with a status of these classes; of all classes, if none is named."""
        counts = self.operations.get(operation, {})
        return sum(count for each, count in counts.items() if not classes or each in classes)


def read(state_dir: Path) -> NetworkReport | None:
    """What the node says, if it is running; None if it isn't, or none of this version.

    Raises:
        PermissionError: if its report may not be read.
    """
    path = state_dir / REPORT
    try:
        age = time.time() - path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
    report = read_struct(path, NetworkReport)
    if report is None or not report.running or age > FRESH_SECONDS or not lives(report.pid):
        return None
    return report
