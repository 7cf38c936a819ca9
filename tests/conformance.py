"""docs/conformance.md, made from its text and the program's tables: `python -m tests.conformance` writes it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_description
from pydicom.uid import UID
from pynetdicom import sop_class

from staticwado_daemon import __version__
from staticwado_daemon.archive import search, summary
from staticwado_daemon.config.schema import AeConfig, DicomWebScpConfig, Group, PullConfig, TlsConfig, keys
from staticwado_daemon.dicom import uncompressed
from staticwado_daemon.dicom.character_sets import character_sets
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.dimse import contexts, implementation, statuses, tls
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.commitment import answering as commitment
from staticwado_daemon.dimse.commitment import messages as commitment_messages
from staticwado_daemon.dimse.commitment import transactions
from staticwado_daemon.dimse.node import acceptance
from staticwado_daemon.dimse.pulling import pull
from staticwado_daemon.dimse.query import hierarchy, question
from staticwado_daemon.dimse.retrieve import service as retrieve

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
_TEXT = Path(__file__).parent / "data" / "conformance.md"

_STORE_STATUSES = {
    statuses.SUCCESS: "Success: the object is on the disk",
    statuses.OUT_OF_RESOURCES: "Refused, out of resources: too little room is left, the disk failed, or the object is "
    "longer than `maxObjectBytes`. Nothing of it is kept",
    statuses.MISMATCH: "Error: SOP Class or SOP Instance UID of data set and request differ",
    statuses.UNABLE_TO_PROCESS: "Error, cannot understand: the data set is empty or ends inside an element; Study, "
    "Series or SOP Instance UID is missing or none",
}
_FIND_STATUSES = {
    statuses.SUCCESS: "Success: there are no more matches",
    statuses.PENDING: "Pending: a match",
    statuses.PENDING_WITH_WARNING: "Pending: a match, of which something that was asked for isn't supported",
    statuses.CANCELLED: "Cancelled",
    statuses.OUT_OF_RESOURCES: "Refused, out of resources: the query index isn't ready, as after the first start",
    statuses.MISMATCH: "Identifier does not match SOP class; Offending Element (0000,0901) names the key",
    statuses.UNABLE_TO_PROCESS: "Unable to process: the archive could not be read",
}
_RETRIEVE_STATUSES = {
    statuses.SUCCESS: "Success: all sub-operations are done",
    statuses.PENDING: "Pending: sub-operations go on",
    statuses.SOME_FAILED: "Warning: one or more sub-operations failed, or ended with a warning",
    statuses.CANCELLED: "Cancelled",
    statuses.CANNOT_COUNT: "Refused, out of resources: the matches can't be counted, or are more than "
    f"{retrieve.MOST:,}",
    statuses.CANNOT_PERFORM: "Refused, out of resources: every sub-operation failed",
    statuses.UNKNOWN_DESTINATION: "Refused: `aeConfig` doesn't have the Move Destination",
    statuses.MISMATCH: "Identifier does not match SOP class; Offending Element (0000,0901) names the key",
}
_REFUSALS = {
    acceptance.PEER: "the address isn't among `peers`",
    acceptance.CALLED: "the called AE title isn't among `calledAeTitles`",
    acceptance.CALLING: "the calling AE title isn't among `callingAeTitles`",
    acceptance.OF_PEER: "the address has as many associations as one may (`maxAssociationsPerPeer`)",
    acceptance.TOTAL: "there are as many associations as may be (`maxAssociations`)",
}
_RESULTS = {1: "1 permanent", 2: "2 transient"}
_SOURCES = {1: "1 service user", 3: "3 service provider (presentation)"}
_REASONS = {
    (1, 3): "3 calling AE title not recognised",
    (1, 7): "7 called AE title not recognised",
    (3, 2): "2 local limit exceeded",
}
_SENT_STATUSES = {
    "0000": "stored",
    "0001, 0107, 0116, Bxxx": "stored, with a warning, which is told",
    "A7xx, 0213": "not stored; `send` tries again, at growing intervals",
    "any other": "not stored; it isn't tried again, and what the acceptor says is told",
}
_LEVELS: tuple[search.Level, ...] = ("PATIENT", "STUDY", "SERIES")
_COUNTS = (
    summary.MODALITIES_IN_STUDY,
    search.SOP_CLASSES_IN_STUDY,
    search.PATIENT_RELATED_STUDIES,
    search.PATIENT_RELATED_SERIES,
    search.PATIENT_RELATED_INSTANCES,
    summary.STUDY_RELATED_SERIES,
    summary.STUDY_RELATED_INSTANCES,
    summary.SERIES_RELATED_INSTANCES,
)


def page() -> str:
    """The page as it has to be."""
    values = {name: make() for name, make in _VALUES.items()}
    used: set[str] = set()

    def value(found: re.Match[str]) -> str:
        used.add(found[1])
        return values[found[1]]

    text = re.sub(r"\{\{(.+?)\}\}", value, _TEXT.read_text(encoding="utf-8"))
    if unused := values.keys() - used:
        raise LookupError(f"the text doesn't use {sorted(unused)}")
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _statuses(meanings: Mapping[int, str]) -> str:
    return _table(("status", "meaning"), ((f"{code:04X}", meaning) for code, meaning in meanings.items()))


def _overview() -> str:
    rows = ((each.name, "yes" if each.as_scu else "no", "yes" if each.as_scp else "no") for each in contexts.SERVICES)
    return _table(("network service", "as SCU", "as SCP"), rows)


def _classes(service: contexts.Service) -> str:
    if service.classes is contexts.STORAGE:
        return "SOP classes and transfer syntaxes are those of [2.2.2](#222-presentation-contexts)."
    return _table(("SOP class", "UID", "SCU", "SCP"), (_class_row(service, uid) for uid in service.classes))


def _class_row(service: contexts.Service, uid: str) -> tuple[str, ...]:
    return _name(uid), uid, "yes" if service.as_scu else "no", "yes" if service.as_scp else "no"


def _name(uid: str) -> str:
    """The standard's name of a SOP class; pynetdicom's keyword of one that is newer than pydicom's list."""
    name = UID(uid).name
    if name != uid:
        return re.sub(r" SOP Class$| \(Retired\)$", "", name) + (" (retired)" if UID(uid).is_retired else "")
    keyword = next(key for key, value in vars(sop_class).items() if value == uid and not key.startswith("_"))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", keyword)


def _syntaxes(uids: Iterable[str]) -> str:
    return _table(("transfer syntax", "UID"), ((transfer_syntax(uid).name, uid) for uid in uids))


def _rejections() -> str:
    rows = (
        (meaning, _RESULTS[each.result], _SOURCES[each.source], _REASONS[each.source, each.reason])
        for each, meaning in _REFUSALS.items()
    )
    return _table(("because", "result", "source", "reason"), rows)


def _find_keys() -> str:
    tags = sorted({*summary.STUDY_ATTRIBUTES, *summary.SERIES_ATTRIBUTES, *_COUNTS} - {"00080005"})
    return (
        _table(
            ("attribute", "tag", *_LEVELS),
            (
                (dictionary_description(tag), f"({tag[:4]},{tag[4:]})", *(_support(level, tag) for level in _LEVELS))
                for tag in tags
                if any(search.is_supported(level, tag) for level in _LEVELS)
            ),
        )
        + "\n\nU: unique key of the level. +: matched, and told where it has a value."
    )


def _support(level: search.Level, tag: str) -> str:
    if tag == hierarchy.UNIQUE_KEYS[level]:
        return "U"
    return "+" if search.is_supported(level, tag) else ""


def _asked_keys() -> str:
    return _table(("level", "attributes"), ((level, ", ".join(asked)) for level, asked in question.RETURNED.items()))


def _action_statuses() -> str:
    return _statuses({each.code: each.meaning for each in commitment_messages.ACTION_STATUSES})


def _configuration() -> str:
    rows = [
        *_parameters("dicomWebScpConfig", DicomWebScpConfig),
        *_parameters("dicomWebScpConfig.tls", TlsConfig),
        *_parameters("dicomWebScpConfig.pull[]", PullConfig),
        *_parameters("aeConfig.TITLE", AeConfig),
    ]
    return _table(("parameter", "default", "meaning"), rows)


def _parameters(section: str, group: type[Group]) -> Iterator[tuple[str, str, str]]:
    for key in keys(group):
        default = "required" if key.required else "absent" if key.default is None else f"`{json.dumps(key.default)}`"
        yield f"`{section}.{key.name}`", default, key.meaning


def _character_sets() -> str:
    """The defined terms of PS3.3 C.12.1.1.2 that are understood."""
    terms = sorted(term for term in python_encoding if term.startswith(("ISO_IR ", "ISO 2022 IR ", "GB")))
    return ", ".join(f"`{term}`" for term in terms if not character_sets(term.encode()).unknown) + "."


def _sizes(number: int) -> str:
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number >> 10} KiB"


def _default(group: type[Group], name: str) -> str:
    value = next(key.default for key in keys(group) if key.name == name)
    return (
        f"{value:,}"
        if isinstance(value, int) and name != "port"
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _scp(name: str) -> Callable[[], str]:
    return lambda: _default(DicomWebScpConfig, name)


_VALUES: dict[str, Callable[[], str]] = {
    "version": lambda: __version__,
    "overview": _overview,
    "implementation class": lambda: implementation.CLASS_UID,
    "implementation version": lambda: implementation.VERSION_NAME,
    "max associations": _scp("maxAssociations"),
    "max associations of peer": _scp("maxAssociationsPerPeer"),
    "max pdu": _scp("maxPduLength"),
    "max object": _scp("maxObjectBytes"),
    "artim": _scp("artimSeconds"),
    "idle": _scp("idleSeconds"),
    "host": _scp("host"),
    "port": _scp("port"),
    "max associate": lambda: _sizes(Limits().maximum_associate_length),
    "max command": lambda: _sizes(Limits().maximum_command_length),
    "max identifier": lambda: _sizes(Limits().maximum_identifier_length),
    "connect": lambda: f"{Local('').connect_seconds:g}",
    "associate": lambda: f"{Local('').associate_seconds:g}",
    "answer": lambda: f"{Local('').answer_seconds:g}",
    "answer to move": lambda: f"{pull.MOVE_SECONDS:g}",
    "rejections": _rejections,
    "message syntaxes": lambda: _syntaxes(contexts.MESSAGE_SYNTAXES),
    "storage syntaxes": lambda: _syntaxes(contexts.STORAGE_SYNTAXES),
    **{f"services {each.name}": partial(_classes, each) for each in contexts.SERVICES},
    "store statuses": lambda: _statuses(_STORE_STATUSES),
    "sent statuses": lambda: _table(("status", "meaning"), _SENT_STATUSES.items()),
    "find keys": _find_keys,
    "find statuses": lambda: _statuses(_FIND_STATUSES),
    "retrieve statuses": lambda: _statuses(_RETRIEVE_STATUSES),
    "common": lambda: str(len(contexts.COMMON_STORAGE)),
    "asked keys": _asked_keys,
    "action statuses": _action_statuses,
    "failure reasons": lambda: _statuses(commitment_messages.FAILURE_REASONS).replace("status", "reason", 1),
    "max items": lambda: f"{commitment_messages.MAXIMUM_ITEMS:,}",
    "max open": lambda: f"{transactions.MAXIMUM_OPEN:,}",
    "max references": lambda: f"{transactions.MAXIMUM_REFERENCES:,}",
    "patience missing": lambda: f"{commitment.Terms().missing / 60:g}",
    "patience silence": lambda: f"{commitment.Terms().silence:g}",
    "patience kept": lambda: f"{commitment.Terms().kept / 86_400:g}",
    "patience longest": lambda: f"{commitment.Terms().longest / 60:g}",
    "configuration": _configuration,
    "uncompressed": lambda: " and ".join(transfer_syntax(uid).name for uid in uncompressed.SYNTAXES),
    "character sets": _character_sets,
    "ciphers": lambda: ", ".join(f"`{each}`" for each in tls._CIPHERS.split(":")) + ".",
    "storage classes": lambda: _table(("SOP class", "UID"), ((_name(uid), uid) for uid in contexts.STORAGE)),
}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
