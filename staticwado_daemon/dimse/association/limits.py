"""What one association may ask of us."""

from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dimse.association import pdata

ASSOCIATE: Final = frozenset((0x01, 0x02))
"""The types of A-ASSOCIATE-RQ and -AC, the only PDUs besides P-DATA-TF that are long (PS3.8 9.3)."""

_SLACK: Final = 1024
"""Some senders count a PDU's maximum length without the headers of what is in it."""
_SHORT_PDU: Final = 64
"""A-ASSOCIATE-RJ, A-RELEASE and A-ABORT have four bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one association may ask of us.

    Attributes:
        maximum_pdu_length: bytes of a P-DATA-TF PDU, as told to the peer; more than this ends the association.
        maximum_associate_length: bytes of an A-ASSOCIATE PDU; 128 contexts of 50 transfer syntaxes each are 150 kB.
        maximum_command_length: bytes of a command set.
        maximum_identifier_length: bytes of a data set that isn't stored.
        idle_seconds: for which a connection may be silent, and within which each PDU has to be there as a whole.
    """

    maximum_pdu_length: int = 131_072
    maximum_associate_length: int = 1 << 18
    maximum_command_length: int = 1 << 16
    maximum_identifier_length: int = 4 << 20
    idle_seconds: float = 60.0

    def allows(self, kind: int, length: int) -> bool:
        """Whether a PDU of this type may have this length."""
        if kind == pdata.TYPE:
            return length <= self.maximum_pdu_length + _SLACK
        return length <= (self.maximum_associate_length if kind in ASSOCIATE else _SHORT_PDU)
