"""Storage commitment as its user: a requestor who waits on its association, or listens elsewhere."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dimse import contexts

CT = "1.2.840.10008.5.1.4.1.1.2"
TITLE = "MODALITY"
PATIENCE_SECONDS = 60.0

Answer = tuple[int, Dataset]
"""Event Type ID and Event Information."""


def request(uid: str, references: Sequence[tuple[str, str]]) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = uid
    asked.ReferencedSOPSequence = [item(*each) for each in references]
    return asked


def item(sop_class: str, instance: str) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID = sop_class
    made.ReferencedSOPInstanceUID = instance
    return made


class Asking:
    """A requestor with its association, and the events that it was told."""

    def __init__(self, port: int, also: Sequence[PresentationContext] = (), title: str = TITLE) -> None:
        self.told: queue.Queue[Answer] = queue.Queue()
        self.association: Association = AE(title).associate(
            "127.0.0.1",
            port,
            contexts=[build_context(contexts.COMMITMENT), *also],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._event)],
        )
        assert self.association.is_established

    def _event(self, event: evt.Event) -> tuple[int, None]:
        assert event.event_type is not None
        self.told.put((event.event_type, event.event_information))
        return 0x0000, None

    def ask(self, information: Dataset | None, action: int = 1, instance: str = contexts.COMMITMENT_INSTANCE) -> int:
        answer, _ = self.association.send_n_action(information, action, contexts.COMMITMENT, instance)
        return int(answer.Status)

    def answer(self) -> Answer:
        return self.told.get(timeout=PATIENCE_SECONDS)


@contextmanager
def asking(port: int, also: Sequence[PresentationContext] = (), title: str = TITLE) -> Iterator[Asking]:
    made = Asking(port, also, title)
    try:
        yield made
    finally:
        made.association.release()


@contextmanager
def listening(statuses: Sequence[int] = (), port: int = 0) -> Iterator[tuple[int, "queue.Queue[Answer]"]]:
    """The requestor's own listener, to which events come on other associations; its first answers may be given."""
    told: queue.Queue[Answer] = queue.Queue()
    left = [*statuses]

    def event(event: evt.Event) -> tuple[int, None]:
        assert event.event_type is not None
        status = left.pop(0) if left else 0x0000
        if status == 0x0000:
            told.put((event.event_type, event.event_information))
        return status, None

    entity = AE(TITLE)
    entity.add_supported_context(contexts.COMMITMENT, scu_role=True, scp_role=True)
    server: Any = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, event)])
    try:
        yield server.socket.getsockname()[1], told
    finally:
        server.shutdown()


def committed(information: Dataset) -> list[str]:
    return [each.ReferencedSOPInstanceUID for each in information.get("ReferencedSOPSequence", [])]


def failed(information: Dataset) -> dict[str, int]:
    return {each.ReferencedSOPInstanceUID: each.FailureReason for each in information.get("FailedSOPSequence", [])}
