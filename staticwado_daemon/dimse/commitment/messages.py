"""Storage commitment on the wire: the request of an N-ACTION, the event of an N-EVENT-REPORT (PS3.4 annex J)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.association import Association

from staticwado_daemon.dicom import with_pydicom
from staticwado_daemon.dicom.attributes import Attributes, first_text
from staticwado_daemon.dicom.data_set import Limits, Rules
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.commitment.transactions import Failure, Reference, Transaction
from staticwado_daemon.errors import Rejected, StaticwadoError

REQUEST = 1
"""The one Action Type ID (PS3.4 J.3.2.1.1)."""

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs (PS3.4 J.3.3.1.1)."""

MAXIMUM_ITEMS = 25_000
MAXIMUM_BYTES = 4 << 20
"""Of the Action Information: more than so many items have, each with its two UIDs and their headers."""

_TRANSACTION_UID, _REFERENCED = "00081195", "00081199"
_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"
_LIMITS: Final = Limits(
    maximum_depth=4,
    maximum_elements=8 * MAXIMUM_ITEMS,
    maximum_element_length=MAXIMUM_BYTES,
    maximum_inline_public_length=MAXIMUM_BYTES,
    maximum_inline_private_length=0,
)


@dataclass(frozen=True, slots=True)
class Status:
    """What an N-ACTION is answered, and its meaning (PS3.7 annex C, PS3.4 J.3.2.1.4)."""

    code: int
    meaning: str


ACCEPTED = Status(0x0000, "The request is kept, and will be answered by N-EVENT-REPORT")
FAILED = Status(0x0110, "The request can't be kept now: the disk takes no more. Ask again later")
NO_INSTANCE = Status(0x0112, "Not addressed to the well-known SOP instance 1.2.840.10008.1.20.1.1")
INVALID = Status(
    0x0115, "No Transaction UID or no reference; a value that is no UID; or the UID of another open request"
)
NO_ACTION = Status(0x0123, "Another action type than 1")
EXHAUSTED = Status(0x0213, "More references in one request, or more open requests, than are kept")
ACTION_STATUSES = (ACCEPTED, FAILED, NO_INSTANCE, INVALID, NO_ACTION, EXHAUSTED)

PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
FAILURE_REASONS = {
    PROCESSING_FAILURE: "What is stored is damaged, or doesn't give back what came in, byte for byte",
    NO_SUCH_INSTANCE: "Not in the archive, and not on its way there; or deleted or rejected",
    CLASS_CONFLICT: "The instance is in the archive, and is of another SOP class",
}
"""Values of Failure Reason (0008,1197) that are given (PS3.3 C.14.1.1)."""


class Refused(StaticwadoError):
    """The request isn't taken; `status` goes on the wire, and the text, which names nobody, with it."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status = status


def read(data: bytes, transfer_syntax_uid: str) -> tuple[str, tuple[Reference, ...]]:
    """Read the Action Information of a request (PS3.4 table J.3-1).

    Args:
        data: the encoded data set.
        transfer_syntax_uid: of the presentation context by which it came.

    Returns:
        the Transaction UID, and what is referenced, each once.

    Raises:
        Refused: if it isn't one.
    """
    if len(data) > MAXIMUM_BYTES:
        raise Refused(EXHAUSTED, "the request is too long: ask in portions")
    try:
        syntax = transfer_syntax(transfer_syntax_uid)
        attributes = Attributes(with_pydicom.read(data, 0, syntax.encoding, Rules(_LIMITS, str)).fragments)
        uid = str(UID(attributes.text(_TRANSACTION_UID)))
        items = attributes.sequence(_REFERENCED)
        if len(items) > MAXIMUM_ITEMS:
            raise Refused(EXHAUSTED, f"more than {MAXIMUM_ITEMS} references: ask in portions")
        found = dict.fromkeys(map(_reference, items))
    except Rejected as why:
        raise Refused(INVALID, why.reason) from None
    if not found:
        raise Refused(INVALID, "Referenced SOP Sequence is missing or empty")
    return uid, tuple(found)


def _reference(item: Mapping[str, Any]) -> Reference:
    return Reference(str(UID(first_text(item, _SOP_CLASS))), str(UID(first_text(item, _SOP_INSTANCE))))


def event(transaction: Transaction, title: str) -> tuple[int, Dataset]:
    """The event type and the Event Information of a decided transaction (PS3.4 table J.3-2).

    Args:
        transaction: decided.
        title: our AE title, by which the instances can be retrieved.
    """
    failures = transaction.failures or ()
    failed = {each.reference for each in failures}
    information = Dataset()
    information.TransactionUID = transaction.uid
    information.RetrieveAETitle = title
    if committed := [_item(each) for each in transaction.references if each not in failed]:
        information.ReferencedSOPSequence = Sequence(committed)
    if failures:
        information.FailedSOPSequence = Sequence(_failed(failures))
    return (SOME_FAILED if failures else ALL_COMMITTED), information


def report(association: Association, event_type: int, information: Dataset) -> int | None:
    """Send an N-EVENT-REPORT (PS3.4 J.3.3); the status of its answer, None if there is none.

    Args:
        association: that isn't used by anybody else meanwhile, see `provider.undisturbed`.
        event_type: as `event` says.
        information: likewise.
    """
    try:
        answer, _ = association.send_n_event_report(
            information, event_type, contexts.COMMITMENT, contexts.COMMITMENT_INSTANCE
        )
    except (RuntimeError, ValueError):  # the association has just ended
        return None
    status: int | None = answer.get("Status")
    return status


def _failed(failures: Iterable[Failure]) -> list[Dataset]:
    items = []
    for each in failures:
        item = _item(each.reference)
        item.FailureReason = each.reason
        items.append(item)
    return items


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class
    item.ReferencedSOPInstanceUID = reference.instance
    return item
