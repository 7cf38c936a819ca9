"""What tests of C-GET and C-MOVE need: peers that write down what they are given, and ask as a test wants."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    register_uid,
    uid_to_service_class,
)

from staticwado_daemon.dicom import part10
from tests.system.nodes import TITLE, Node

PATIENT_MOVE = str(PatientRootQueryRetrieveInformationModelMove)
STUDY_MOVE = str(StudyRootQueryRetrieveInformationModelMove)
PATIENT_GET = str(PatientRootQueryRetrieveInformationModelGet)
STUDY_GET = str(StudyRootQueryRetrieveInformationModelGet)

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
SUCCESS, WARNING, OUT_OF_RESOURCES = 0x0000, 0xB000, 0xA700


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was stored.

    Attributes:
        path: of the file.
        uids: Study, Series and SOP Instance UID.
        patient: Patient ID.
        sop_class: SOP Class UID.
        transfer_syntax: that the data set is really in.
        data_set: the bytes after the file meta information.
    """

    path: Path
    uids: tuple[str, str, str]
    patient: str
    sop_class: str
    transfer_syntax: str
    data_set: bytes

    @classmethod
    def of(cls, path: Path) -> "Source":
        data = path.read_bytes()
        read = part10.read(data, part10.Limits(), str)
        uids = (str(read.identity.study), str(read.identity.series), str(read.identity.instance))
        return cls(
            path,
            uids,
            read.attributes.text("00100020"),
            read.attributes.text("00080016"),
            read.transfer_syntax_uid,
            data[part10.data_set_offset(data) :],
        )


@dataclass(frozen=True, slots=True)
class Received:
    """An object as it arrived."""

    sop_class: str
    transfer_syntax: str
    data_set: bytes
    originator: tuple[str | None, int | None]
    message_id: int

    def file(self) -> pydicom.FileDataset:
        """The same as pydicom reads it."""
        return pydicom.dcmread(pydicom.filebase.DicomBytesIO(_part10(self)), force=True)


def _part10(received: Received) -> bytes:
    uid = received.transfer_syntax.encode()
    uid += bytes(len(uid) % 2)
    return bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid + received.data_set


@dataclass(slots=True)
class Witness:
    """A storage SCP.

    Attributes:
        answer: gives the status for the object of a number from 1; None aborts the association instead.
        poison: a SOP Instance UID at which it always aborts the association.
        received: by SOP Instance UID; what was answered with a failure isn't there.
        requests: how many objects came.
        associations: how many were requested.
        callers: the AE titles of those.
    """

    answer: Callable[[int], int | None] = lambda _: SUCCESS
    poison: str = ""
    received: dict[str, Received] = field(default_factory=dict)
    requests: int = 0
    associations: int = 0
    callers: set[str] = field(default_factory=set)

    def store(self, event: evt.Event) -> int:
        self.requests += 1
        status = self.answer(self.requests)
        if status is None or event.request.AffectedSOPInstanceUID == self.poison:
            event.assoc.abort()
            return OUT_OF_RESOURCES
        if status in {SUCCESS, WARNING}:
            request = event.request
            self.received[str(request.AffectedSOPInstanceUID)] = Received(
                str(request.AffectedSOPClassUID),
                str(event.context.transfer_syntax),
                request.DataSet.getvalue(),
                (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID),
                request.MessageID,
            )
        return status

    def requested(self, event: evt.Event) -> None:
        self.associations += 1
        self.callers.add(event.assoc.requestor.primitive.calling_ae_title)


@contextmanager
def listening(port: int, offered: Mapping[str, Iterable[str]], witness: Witness | None = None) -> Iterator[Witness]:
    """A storage SCP at a port that takes these SOP classes in these transfer syntaxes."""
    witness = witness or Witness()
    entity = AE("WITNESS")
    _know(offered)
    for sop_class, syntaxes in offered.items():
        entity.add_supported_context(sop_class, list(syntaxes))
    handlers = [(evt.EVT_C_STORE, witness.store), (evt.EVT_REQUESTED, witness.requested)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield witness
    finally:
        server.shutdown()


def _know(classes: Iterable[str]) -> None:
    """Let pynetdicom take retired and private storage classes for such."""
    for number, uid in enumerate(classes):
        if uid_to_service_class(uid) is ServiceClass:
            register_uid(uid, f"Storage{number}Of{uid.replace('.', '')}", StorageServiceClass)


def as_they_came(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Of each SOP class the transfer syntaxes that sources have."""
    found: dict[str, list[str]] = {}
    for each in sources:
        found.setdefault(each.sop_class, []).append(each.transfer_syntax)
    return {sop_class: list(dict.fromkeys(syntaxes)) for sop_class, syntaxes in found.items()}


def only(sources: Iterable[Source], *syntaxes: str) -> dict[str, Sequence[str]]:
    """The SOP classes of sources, in these transfer syntaxes alone."""
    return {each.sop_class: syntaxes for each in sources}


def identifier(level: str, **keys: str | list[str]) -> Dataset:
    """An identifier."""
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


@dataclass(frozen=True, slots=True)
class Final:
    """The end of an operation.

    Attributes:
        status: final.
        counts: completed, failed, warning; None where the answer has none.
        remaining: sub-operations; None where the answer has no number.
        failed: Failed SOP Instance UID List.
        comment: Error Comment.
        pending: remaining, completed, failed and warning of each pending response.
    """

    status: int
    counts: tuple[int, int, int] | None
    remaining: int | None
    failed: list[str]
    comment: str
    pending: list[tuple[int, int, int, int]]


@contextmanager
def asking(
    node: Node,
    model: str,
    offered: Mapping[str, Iterable[str]] | None = None,
    witness: Witness | None = None,
    *,
    roles: bool = True,
) -> Iterator[Association]:
    """An association with a node for C-GET or C-MOVE; with `offered`, we take these on it, and `witness` sees them."""
    entity = AE("ASKER")
    proposed = [build_context(model)]
    selected = []
    _know(offered or {})
    for sop_class, syntaxes in (offered or {}).items():
        proposed += [build_context(sop_class, [syntax]) for syntax in syntaxes]
        selected += [build_role(sop_class, scp_role=True)] * roles
    handlers: list[Any] = [(evt.EVT_C_STORE, witness.store)] if witness else []
    association = entity.associate("127.0.0.1", node.port, proposed, TITLE, ext_neg=selected, evt_handlers=handlers)
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def final(responses: Iterable[tuple[Dataset, Dataset | None]]) -> Final:
    """Read the responses to C-GET or C-MOVE to their end."""
    pending = []
    for status, answer in responses:
        assert "Status" in status, "the association ended"
        numbers = [
            status.get(f"NumberOf{kind}Suboperations") for kind in ("Remaining", "Completed", "Failed", "Warning")
        ]
        if status.Status in {0xFF00, 0xFF01}:
            pending.append(tuple(numbers))
            continue
        failed = answer.get("FailedSOPInstanceUIDList", []) if answer else []
        return Final(
            status.Status,
            None if numbers[1] is None else tuple(numbers[1:]),
            numbers[0],
            [failed] if isinstance(failed, str) else list(failed or []),
            str(status.get("ErrorComment", "")),
            pending,
        )
    raise AssertionError("no final answer")


@dataclass(frozen=True, slots=True)
class Archive:
    """A node that gives back; WITNESS is where a test listens, ABSENT where nobody does."""

    node: Node
    witness: int
    sources: tuple[Source, ...]
    ct: tuple[Source, ...]

    @property
    def studies(self) -> list[str]:
        return sorted({each.uids[0] for each in self.sources})


def moved(archive: Archive, model: str, keys: Dataset, destination: str = "WITNESS") -> Final:
    """Ask for a C-MOVE and wait for its end."""
    with asking(archive.node, model) as association:
        return final(association.send_c_move(keys, destination, model, msg_id=77))


def is_whole(received: dict[str, Received], sources: Iterable[Source]) -> None:
    """What arrived is what was stored, bit for bit."""
    expected = {each.uids[2]: each for each in sources}
    assert received.keys() == expected.keys()
    for uid, each in expected.items():
        assert received[uid].transfer_syntax == each.transfer_syntax, each.path
        assert received[uid].sop_class == each.sop_class
        assert received[uid].data_set == each.data_set, each.path
