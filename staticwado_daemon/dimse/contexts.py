"""What is said in association negotiation, as tables: SOP classes, transfer syntaxes and roles of each service.

Acceptor and requestor propose what these functions build, and the conformance statement is made from the same tables.
UIDs as in PS3.6 annex A, services as in PS3.4.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, StoragePresentationContexts, build_context
from pynetdicom.presentation import NonPatientObjectPresentationContexts, PresentationContext

from staticwado_daemon.dicom import transfer_syntaxes
from staticwado_daemon.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP instance that N-ACTION and N-EVENT-REPORT speak to (PS3.4 J.3.5)."""

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

MAXIMUM = 128
"""So many presentation contexts fit into one association: their identifiers are the odd numbers below 256."""

_MOST_UNKNOWN = 32
"""Transfer syntaxes without a name that are accepted in one association: each is compared with all before it."""

_STANDARD = "1.2.840.10008."
_SOP_CLASSES = "1.2.840.10008.5.1."
_PATIENTS_STORAGE = "1.2.840.10008.5.1.4.1.1."
"""Almost all storage classes of the standard have their UIDs below this."""

_NO_PATIENTS = frozenset(str(each.abstract_syntax) for each in NonPatientObjectPresentationContexts)


def _storage_classes() -> tuple[str, ...]:
    """Every SOP class by which something of a patient is stored, retired and trial ones included."""
    named = {
        uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Storage" in UID(uid).keyword
    }
    newer = {str(each.abstract_syntax) for each in AllStoragePresentationContexts}
    return tuple(sorted({uid for uid in named | newer if uid.startswith(_SOP_CLASSES)} - _NO_PATIENTS, key=_numbers))


def _numbers(uid: str) -> list[int]:
    return [int(each) for each in uid.split(".")]


STORAGE = _storage_classes()
"""The storage SOP classes that have names; all others are accepted as well: see `is_storage`."""

_STORAGE = frozenset(STORAGE)

COMMON_STORAGE = tuple(str(each.abstract_syntax) for each in StoragePresentationContexts)
"""Those of them that are met most; they fit into one association together, with a few contexts to spare."""

MESSAGE_SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""Of identifiers and other data sets that aren't stored. A deflated one could be of any size once it is inflated."""

_LOSSLESS_FIRST = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.110",
    RLE_LOSSLESS,
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

STORAGE_SYNTAXES = tuple(
    dict.fromkeys((*_LOSSLESS_FIRST, *(each.uid for each in transfer_syntaxes.known() if each.uid in UID_dictionary)))
)
"""Every transfer syntax of the standard; of several in one context the first of these is accepted.

A requestor usually proposes each syntax in a context of its own, and sends an object in the one it has. Where it
proposes several in one context it has to convert what it has in another one, so the choice is what every conversion
leads to without loss: Explicit VR Little Endian, which all programs can write and which tells the VR of private
elements. Compressed lossless ones come next, Implicit VR, in which private elements lose their VR, after them, and what
may lose something last: that a requestor offers it beside an uncompressed one says that it has the pixels as well
(PS3.5 section 10.1).
"""

_STORAGE_SYNTAXES = frozenset(STORAGE_SYNTAXES)


@dataclass(frozen=True, slots=True)
class Service:
    """One service and what is negotiated for it.

    Attributes:
        name: of the service class, in the standard's words.
        classes: SOP Class UIDs.
        syntaxes: Transfer Syntax UIDs; the first one that a requestor proposes is accepted.
        as_scp: whether requests are answered.
        as_scu: whether requests are made.
    """

    name: str
    classes: tuple[str, ...]
    syntaxes: tuple[str, ...]
    as_scp: bool
    as_scu: bool


_MODELS = {
    "C-FIND": (PATIENT_ROOT_FIND, STUDY_ROOT_FIND),
    "C-MOVE": (PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE),
    "C-GET": (PATIENT_ROOT_GET, STUDY_ROOT_GET),
}

SERVICES = (
    Service("Verification", (VERIFICATION,), MESSAGE_SYNTAXES, as_scp=True, as_scu=True),
    Service("Storage", STORAGE, STORAGE_SYNTAXES, as_scp=True, as_scu=True),
    *(
        Service(f"Query/Retrieve: {name}", classes, MESSAGE_SYNTAXES, as_scp=True, as_scu=True)
        for name, classes in _MODELS.items()
    ),
    Service("Storage Commitment", (COMMITMENT,), MESSAGE_SYNTAXES, as_scp=True, as_scu=False),
)
"""All that is negotiated, in the order of the conformance statement."""


def is_storage(uid: str) -> bool:
    """Whether objects of this SOP class are stored: those of the standard's storage classes, and of all unknown ones.

    Unknown are private classes and those that are newer than this program. What the standard knows as something else,
    a query or a protocol without a patient, is none.
    """
    if uid in _STORAGE:
        return True
    known = uid in UID_dictionary or uid in _NO_PATIENTS
    return not known and (uid.startswith(_PATIENTS_STORAGE) or not uid.startswith(_STANDARD))


def messages(classes: Iterable[str]) -> list[PresentationContext]:
    """What is offered, or proposed, for services other than storage."""
    return [build_context(uid, list(MESSAGE_SYNTAXES)) for uid in classes]


def stored_as_requested(requested: Sequence[PresentationContext]) -> list[PresentationContext]:
    """What an acceptor offers for storage to one requestor: each class and transfer syntax of what it proposes.

    The requestor may be the SCP as well: C-GET makes it the receiver.
    """
    wanted = [each for each in requested if is_storage(str(each.abstract_syntax))]
    # What nobody has proposed can't be accepted, and every syntax costs for every class.
    proposed = dict.fromkeys(str(syntax) for each in wanted for syntax in each.transfer_syntax)
    known = [syntax for syntax in STORAGE_SYNTAXES if syntax in proposed]
    unknown = islice((syntax for syntax in proposed if syntax not in _STORAGE_SYNTAXES), _MOST_UNKNOWN)
    syntaxes = [*known, *unknown]
    offered = [build_context(uid, syntaxes) for uid in dict.fromkeys(str(each.abstract_syntax) for each in wanted)]
    for each in offered:
        each.scu_role = each.scp_role = True
    return offered


def sending(stored_as: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """What a requestor proposes who sends objects: each as it is, and each class uncompressed as well.

    A context of its own for each transfer syntax lets the acceptor take as many of them as it can. Not more than
    `MAXIMUM` of the result fit into one association; what belongs to one class stands together.

    Args:
        stored_as: SOP Class and Transfer Syntax UID of each object.
    """
    syntaxes: dict[str, dict[str, None]] = {}
    for sop_class, syntax in stored_as:
        syntaxes.setdefault(sop_class, {})[syntax] = None
    return [
        build_context(sop_class, [syntax])
        for sop_class, own in syntaxes.items()
        for syntax in (*own, *(each for each in MESSAGE_SYNTAXES if each not in own))
    ]


def receiving(classes: Iterable[str], syntaxes: Sequence[str] = STORAGE_SYNTAXES) -> list[PresentationContext]:
    """What a requestor proposes who receives by C-GET; for each of the classes it proposes to be the SCP as well.

    Args:
        classes: SOP Class UIDs, each of which takes one context: with one for each transfer syntax there would be no
            room for all the classes that an answer may hold.
        syntaxes: all that are proposed for each of them; which one is taken is the acceptor's choice.
    """
    return [build_context(uid, list(syntaxes)) for uid in classes]
