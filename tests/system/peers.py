"""Real peers for the tests of what we ask others: dcmtk's archive, and one of pynetdicom that misbehaves as told."""

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from staticwado_daemon.dimse import contexts
from tests.system import dcmtk
from tests.system.listening import until_listening
from tests.system.servers import free_port

_PATIENCE_SECONDS = 30.0
_MAXIMUM = "(1000, 10000mb)"


@contextmanager
def dcmqrscp(
    directory: Path, files: Sequence[Path], *options: str, title: str = "ARCHIVE", **known: int
) -> Iterator[int]:
    """Run dcmtk's archive with these files until the context ends.

    Args:
        directory: a new one, for its files.
        files: what it holds at first.
        options: more of its own.
        title: its AE title.
        known: AE title to port, of those to whom it may move; all on this machine.

    Yields:
        its port.
    """
    area = directory / "area"
    area.mkdir(parents=True)
    port = free_port()
    hosts = "\n".join(f"peer{number} = ({each}, localhost, {at})" for number, (each, at) in enumerate(known.items()))
    config = directory / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{title} {area} RW {_MAXIMUM} ANY\nAETable END\n"
    )
    if files:
        dcmtk.run("dcmqridx", area, *_copied(files, area))
    command = [dcmtk.program("dcmqrscp"), *options, "-c", str(config), str(port)]
    log = directory / "dcmqrscp.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=dcmtk.environment())
    try:
        until_listening(port, process)
        yield port
    except BaseException as error:
        error.add_note(f"dcmqrscp's log ends with:\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def _copied(files: Sequence[Path], area: Path) -> list[Path]:
    copies = [area / f"{number:05}.dcm" for number in range(len(files))]
    for path, copy in zip(files, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    return copies


@dataclass(slots=True)
class Archive:
    """A peer by pynetdicom, which holds what it is given and does what it is told to.

    Attributes:
        holdings: what it is asked for.
        answer: the status of the nth C-STORE, counted from 0 over all associations; None: it aborts instead.
        gives: how many objects of a C-GET it sends before it aborts; None: all.
        pause: seconds before each object of a C-GET.
        always: it aborts each time, and not but once.
        refuses: says of an identifier of C-GET or C-MOVE whether nothing is sent for it.
        fails: says of an identifier of C-FIND whether it can't be answered.
        moves_to: the port of this machine to which a C-MOVE sends.
        stored: what it has accepted, in order, by SOP Instance UID.
        asked: how many objects it was sent.
        given: how many it has sent.
        associations: how many were established.
        port: where it listens.
        current: the association that was established last.
    """

    holdings: list[Dataset] = field(default_factory=list)
    answer: Callable[[int], int | None] = lambda _number: 0x0000
    gives: int | None = None
    pause: float = 0.0
    always: bool = False
    refuses: Callable[[Dataset], bool] = lambda _asked: False
    fails: Callable[[Dataset], bool] = lambda _asked: False
    moves_to: int = 0
    stored: list[str] = field(default_factory=list)
    asked: int = 0
    given: int = 0
    associations: int = 0
    port: int = 0
    current: Association | None = None

    def established(self, event: Event) -> None:
        """Note an association."""
        self.associations += 1
        self.current = event.assoc

    def abort(self) -> None:
        """End the association that was established last."""
        if self.current is not None:
            self.current.abort()

    def release(self) -> None:
        """Ask for the end of the association that was established last, as an acceptor may."""
        if self.current is not None:
            self.current.acse.send_release(is_response=False)

    def store(self, event: Event) -> int:
        """Answer C-STORE."""
        status = self.answer(self.asked)
        self.asked += 1
        if status is None:
            event.assoc.abort()
            return 0x0110
        if status == 0:
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer C-FIND; what can be chosen by is a UID or the Patient ID."""
        level = event.identifier.QueryRetrieveLevel
        unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
        if self.fails(event.identifier):
            yield 0xC001, None
            return
        told = set()
        for each in self._chosen(event.identifier):
            key = each.get(unique.get(level, "SOPInstanceUID"))
            if key not in told:
                told.add(key)
                yield 0xFF00, _answer(event.identifier, each)

    def move(self, event: Event) -> Iterator[object]:
        """Answer C-MOVE."""
        held = ((str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in self.holdings)
        yield "127.0.0.1", self.moves_to, {"contexts": contexts.sending(held)}
        yield from self.get(event)

    def get(self, event: Event) -> Iterator[object]:
        """Answer C-GET."""
        chosen = self._chosen(event.identifier)
        yield len(chosen)
        if self.refuses(event.identifier):
            yield 0xA702, None
            return
        for each in chosen:
            if self.gives is not None and self.given >= self.gives:
                self.gives = self.gives if self.always else None
                event.assoc.abort()
                return
            self.given += 1
            time.sleep(self.pause)
            yield 0xFF00, each

    def _chosen(self, asked: Dataset) -> list[Dataset]:
        keys = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        wanted = {key: _listed(asked.get(key)) for key in keys}
        return [
            each for each in self.holdings if all(not some or each.get(key) in some for key, some in wanted.items())
        ]


def _listed(value: object) -> list[object]:
    if not value:
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]  # several UIDs


def _answer(asked: Dataset, held: Dataset) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
    if "SpecificCharacterSet" in held:
        answer.SpecificCharacterSet = held.SpecificCharacterSet
    for element in asked:
        if element.tag in held:
            answer.add(held[element.tag])
    return answer


@contextmanager
def archive(
    files: Sequence[Path] = (),
    *,
    title: str = "ARCHIVE",
    tls: ssl.SSLContext | None = None,
    offers: Sequence[str] = (contexts.PATIENT_ROOT_FIND, contexts.STUDY_ROOT_FIND, contexts.STUDY_ROOT_GET),
) -> Iterator[Archive]:
    """Run a peer of pynetdicom's, in a thread, until the context ends."""
    peer = Archive([pydicom.dcmread(path) for path in files])

    entity = AE(title)
    # Set on the entity they would lose their roles.
    supported = [
        *contexts.messages([contexts.VERIFICATION, *offers]),
        *contexts.stored_as_requested(contexts.receiving(contexts.STORAGE)),
    ]
    handlers = [
        (evt.EVT_ESTABLISHED, peer.established),
        (evt.EVT_C_STORE, peer.store),
        (evt.EVT_C_FIND, peer.find),
        (evt.EVT_C_GET, peer.get),
        (evt.EVT_C_MOVE, peer.move),
    ]
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls, contexts=supported
    )
    try:
        peer.port = server.server_address[1]
        yield peer
    finally:
        server.shutdown()
