"""Who sent an instance, as the head of its original says (PS3.10 section 7.1)."""

from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.filereader import read_partial

from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.raw_elements import FAULTS
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version

_HEAD_BYTES: Final = 4096
"""The file meta information is shorter than this, unless it has private information, which comes last."""
_TITLES: Final = ("SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle")


def sender(root: Path, record: Record, *, published: bool) -> str | None:
    """`CT1 to STATICWADO` where it came by C-STORE; None where its file doesn't say, or there is no original.

    Args:
        root: of the tree.
        record: of the version.
        published: whether that is the one that is shown.
    """
    head = bytearray()
    try:
        with closing(Originals(root).pieces(Version(record, published))) as pieces:
            for piece in pieces:
                head += piece[:_HEAD_BYTES]
                if len(head) >= _HEAD_BYTES:
                    break
        meta = read_partial(BytesIO(head), stop_when=lambda tag, _vr, _length: tag >= 0x00080000).file_meta
        sending, receiving = (str(meta.get(keyword, "")).strip() for keyword in _TITLES)
    except (Corrupt, OSError, *FAULTS):  # it was of no importance when the file was stored
        return None
    return f"{sending} to {receiving}" if sending and receiving else sending or None
