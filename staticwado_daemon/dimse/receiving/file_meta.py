"""The head of the Part 10 file that a received data set becomes (PS3.10 section 7.1)."""

import struct
from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dimse.implementation import CLASS_UID, VERSION_NAME
from staticwado_daemon.dimse.peers import is_title

_PREAMBLE: Final = bytes(128) + b"DICM"
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2sxxI")


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What group 0002 says of a received object; nothing in it depends on when it was received.

    Attributes:
        sop_class_uid: Media Storage SOP Class UID (0002,0002).
        sop_instance_uid: Media Storage SOP Instance UID (0002,0003).
        transfer_syntax_uid: (0002,0010).
        sending: AE title of who sent it, also in place of its source (0002,0017), (0002,0016).
        receiving: AE title by which we were called (0002,0018).
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sending: str = ""
    receiving: str = ""

    def encoded(self) -> bytes:
        """Preamble, prefix and file meta information; the data set follows. UIDs needn't be any."""
        sending, receiving = _title(self.sending), _title(self.receiving)
        elements = [
            _LONG.pack(0x0002, 0x0001, b"OB", 2) + b"\0\1",
            *(
                _element(number, b"UI", text.encode("ascii", "replace"), b"\0")
                for number, text in (
                    (0x0002, self.sop_class_uid),
                    (0x0003, self.sop_instance_uid),
                    (0x0010, self.transfer_syntax_uid),
                    (0x0012, CLASS_UID),
                )
            ),
            _element(0x0013, b"SH", VERSION_NAME.encode("ascii"), b" "),
            *(
                _element(number, b"AE", title, b" ")
                for number, title in ((0x0016, sending), (0x0017, sending), (0x0018, receiving))
                if title
            ),
        ]
        body = b"".join(elements)
        return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<I", len(body)), b"") + body


def _element(number: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) % 2)
    return _SHORT.pack(0x0002, number, vr, len(value)) + value


def _title(title: str) -> bytes:
    """An AE title as a value; nothing if it isn't one (PS3.5 section 6.2)."""
    title = title.strip(" ")
    return title.encode("ascii") if is_title(title) else b""
