"""C-FIND as a service: Patient Root and Study Root, levels PATIENT, STUDY, SERIES and IMAGE (PS3.4 section C.4.1).

Queries are hierarchical: each level above the one asked about is named by one value of its unique key. Relational
ones are answered where a requestor has asked for them in extended negotiation. Keys of the levels above may be asked
for as well, and are matched. Only what is asked for is told, and what no query may ask for here is left out and makes
the answer's status 0xFF01. Date and time are matched each on its own; names never by their sound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.archive import search
from staticwado_daemon.dicom.matching import UNMATCHED_VRS, Attribute, Key, Unmatchable
from staticwado_daemon.dicom.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dimse import statuses
from staticwado_daemon.dimse.association.provider import Handler, is_over
from staticwado_daemon.dimse.association.responses import Responses
from staticwado_daemon.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND, messages
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.query import hierarchy, identifier
from staticwado_daemon.dimse.query.encoding import encoded
from staticwado_daemon.dimse.query.hierarchy import OpenIndex
from staticwado_daemon.dimse.query.identifier import QUERY_RETRIEVE_LEVEL, Identifier
from staticwado_daemon.dimse.statuses import CANCELLED, SUCCESS
from staticwado_daemon.errors import Rejected, Transient

_RETRIEVE_AE_TITLE: Final = "00080054"
_INSTANCE_AVAILABILITY: Final = "00080056"
_MODELS: Final = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND)
_EXTENSIONS: Final = bytes((1, 0, 0, 0, 0, 1, 0))
"""What of extended negotiation is done (PS3.4 table C.5-2): relational queries, and matching of empty values."""
_LOOK_SECONDS: Final = 0.2
"""After which it is seen again whether a slow peer has cancelled, or is gone."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks for, found to be allowed.

    Attributes:
        level: of the answers.
        keys: those that are matched and told.
        terms: the requestor's Specific Character Set.
        availability: whether Instance Availability is asked for.
        is_partial: whether something was asked for that isn't supported.
    """

    level: search.Level
    keys: tuple[Key, ...]
    terms: tuple[str, ...]
    availability: bool
    is_partial: bool


def question(asked: Identifier, sop_class: str, *, relational: bool) -> Question:
    """Check a request against its information model (PS3.4 C.4.1.1.3 and C.4.1.2).

    Args:
        asked: the request's identifier.
        sop_class: names the model.
        relational: whether keys of the levels above may be missing, or have any values.

    Raises:
        Unmatchable: if it breaks the model's rules.
    """
    levels = hierarchy.levels(patient_root=sop_class == PATIENT_ROOT_FIND)
    level = hierarchy.level_of(asked, levels)
    for above in () if relational else levels[: levels.index(level)]:
        hierarchy.unique_value(asked, above)
    keys = [key for key in asked.keys if key.tag not in (_RETRIEVE_AE_TITLE, _INSTANCE_AVAILABILITY)]
    supported = tuple(key for key in keys if search.is_supported(level, key.tag))
    unmatched = any(key.vr in UNMATCHED_VRS and key.values for key in supported)
    return Question(
        level,
        supported,
        asked.terms,
        availability=asked.key(_INSTANCE_AVAILABILITY) is not None,
        is_partial=unmatched or len(supported) < len(keys),
    )


class Query:
    """Answers C-FIND.

    Args:
        root: of the tree.
        open_index: opens its query index.
        title: our AE title, which is told as the one to retrieve from.
        observed: counts requests.
    """

    def __init__(self, root: Path, open_index: OpenIndex, title: str, observed: Observed) -> None:
        self._root = root
        self._open_index = open_index
        self._title = title
        self._observed = observed
        self.contexts: Sequence[PresentationContext] = messages(_MODELS)
        self.handlers: Sequence[Handler] = (
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_SOP_EXTENDED, extensions),
        )

    def _find(self, event: Any) -> None:
        """Send one response for each match, and a last one."""
        association, request = event.assoc, event.request
        self._observed.began(association)
        responses = Responses(
            association, event.context.context_id, request.MessageID, str(request.AffectedSOPClassUID)
        )
        try:
            self._tell_matches(event, responses)
            end = _Ended(SUCCESS)
        except _Ended as why:
            end = why
        self._observed.note(association, "C-FIND", end.status)
        responses.finish(end.status, end.comment, int(end.tag, 16) if end.tag else None)

    def _tell_matches(self, event: Any, responses: Responses) -> None:
        try:
            syntax, sop_class = str(event.context.transfer_syntax), str(event.request.AffectedSOPClassUID)
            request = event.request.Identifier.getvalue() if event.request.Identifier else b""
            asked = identifier.read(request, syntax)
            wanted = question(asked, sop_class, relational=_is_relational(event.assoc, sop_class))
            status = statuses.PENDING_WITH_WARNING if wanted.is_partial else statuses.PENDING
            with self._open_index() as index:
                attend = partial(_wait_for_room, event, responses)
                for answer in search.search(index, self._root, wanted.level, wanted.keys, attend):
                    told = self._told(wanted, answer)
                    responses.add(status, encoded(told, wanted.terms, implicit=syntax == IMPLICIT_VR_LITTLE_ENDIAN))
                    attend()
        except Unmatchable as why:
            raise _Ended(statuses.MISMATCH, why.reason, why.tag) from why
        except Rejected as why:
            raise _Ended(statuses.MISMATCH, why.reason) from why
        except Transient as why:
            _log.warning("query_not_answered", reason=str(why))
            raise _Ended(statuses.OUT_OF_RESOURCES, "the query index isn't ready: ask again later") from why
        except _Ended:
            raise
        except Exception as error:
            # Its text may hold what was found; where it happened doesn't.
            _log.error("query_failed", error=type(error).__name__, place=_place(error))
            raise _Ended(statuses.UNABLE_TO_PROCESS, "the archive could not be read") from error

    def _told(self, wanted: Question, answer: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """The identifier of one response (PS3.4 C.4.1.1.3.2)."""
        told: dict[str, Attribute] = {
            QUERY_RETRIEVE_LEVEL: {"vr": "CS", "Value": [wanted.level]},
            _RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [self._title]},
        }
        if wanted.availability:
            told[_INSTANCE_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
        return told | selected(wanted.keys, answer)


class _Ended(Exception):
    """There are no more matches: with which status, and for people why; `tag` is of the key at fault, if one is."""

    def __init__(self, status: int, comment: str = "", tag: str = "") -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.tag = tag


def selected(keys: Sequence[Key], answer: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Only what the keys ask for, of an item of a sequence as well; empty where there is nothing."""
    return {key.tag: _asked_part(key, answer.get(key.tag)) for key in keys}


def _asked_part(key: Key, attribute: Attribute | None) -> Attribute:
    if attribute is None:
        return {"vr": key.vr}
    if key.vr != "SQ" or not any(key.items) or attribute["vr"] != "SQ":
        return attribute
    inner = [each for item in key.items for each in item]
    return {"vr": "SQ", "Value": [selected(inner, item) for item in attribute.get("Value", [])]}


def extensions(event: Any) -> dict[str, bytes]:
    """Answer extended negotiation of the C-FIND models (PS3.4 C.5.1.1): what is asked for and done here."""
    asked = {str(uid): stated for uid, stated in event.app_info.items()}
    return {uid: bytes(map(min, asked[uid], _EXTENSIONS)) for uid in _MODELS if asked.get(uid)}


def _is_relational(association: Association, sop_class: str) -> bool:
    """Whether relational queries were asked for, and so agreed upon."""
    return bool(association.requestor.sop_class_extended.get(UID(sop_class), b"")[:1] == b"\x01")


def _wait_for_room(event: Any, responses: Responses) -> None:
    """Have ready answers sent, and return when there is room for more.

    Raises:
        _Ended: if the request is cancelled, or nobody is there any more.
    """
    while True:
        if event.is_cancelled or is_over(event.assoc):
            raise _Ended(CANCELLED)
        if responses.pass_on(_LOOK_SECONDS):
            return


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
