"""Whether a received object is whole, and is what its request said it is."""

import os
from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dicom import outline
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.statuses import MISMATCH, UNABLE_TO_PROCESS
from staticwado_daemon.errors import Incomplete, Rejected
from staticwado_daemon.inbound.content import Content

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_WANTED: Final = frozenset((_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an object is of no use.

    Attributes:
        status: of the C-STORE response (PS3.4 table B.2-1).
        reason: at most 64 characters, without a value of the object.
        identity: as far as it is known, whole.
    """

    status: int
    reason: str
    identity: Identity | None = None


def audit(descriptor: int, head: int, size: int, request: StoreRequest, syntax: str) -> Fault | None:
    """Find what makes an object unusable; None where nothing does.

    Args:
        descriptor: of its file.
        head: bytes before the data set.
        size: of the file, by what was received.
        request: with which it came.
        syntax: Transfer Syntax UID of its presentation context. What is in a deflated data set isn't looked at.

    Raises:
        OSError: if the file can't be read, or has not kept what was written.
    """
    if os.fstat(descriptor).st_size != size:
        raise OSError(0, "the file isn't as long as what was received")
    try:
        UID(request.sop_class_uid)
        instance = UID(request.sop_instance_uid)
    except Rejected:
        return Fault(UNABLE_TO_PROCESS, "a UID of the request is none")
    if size == head:
        return Fault(UNABLE_TO_PROCESS, "the data set is empty")
    known = transfer_syntax(syntax)
    if known.deflated:
        return None
    try:
        found = outline.read(Content(descriptor, size), head, known.encoding, _WANTED)
    except Incomplete:
        return Fault(UNABLE_TO_PROCESS, "the data set ends inside an element")
    return _mismatch(found, request, instance)


def _mismatch(found: outline.Outline, request: StoreRequest, instance: UID) -> Fault | None:
    """Compare; what an odd data set doesn't show is for the line to find."""
    values = {tag: value.rstrip(b"\0 ").decode("latin-1") for tag, value in found.values.items()}
    identity = _identity(values)
    if values.get(_SOP_CLASS, request.sop_class_uid) != request.sop_class_uid:
        return Fault(MISMATCH, "SOP Class UID of data set and request differ", identity)
    if values.get(_SOP_INSTANCE, instance) != instance:
        return Fault(MISMATCH, "SOP Instance UID of data set and request differ", identity)
    for tag, name in ((_SOP_INSTANCE, "SOP"), (_STUDY, "Study"), (_SERIES, "Series")):
        text = values.get(tag, "")
        if not text and not found.walked:
            continue
        try:
            UID(text)
        except Rejected:
            fault = "invalid" if text else "missing"
            return Fault(UNABLE_TO_PROCESS, f"{name} Instance UID {fault}")
    return None


def _identity(values: dict[int, str]) -> Identity | None:
    try:
        return Identity(*(UID(values.get(tag, "")) for tag in (_STUDY, _SERIES, _SOP_INSTANCE)))
    except Rejected:
        return None
