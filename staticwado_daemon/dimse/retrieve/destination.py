"""The destination of a C-MOVE: instances are brought there, on as many associations as they need (PS3.4 C.4.2)."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from pynetdicom.association import Association

from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.sending import operations as sending
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.operations import Batch, Sent
from staticwado_daemon.dimse.sending.renditions import Renditions
from staticwado_daemon.errors import StaticwadoError

_MOST_ASSOCIATIONS: Final = 8
"""How often we associate for the same instances: again if the destination drops the association, to a point."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Destination:
    """Whom to bring instances to, and for whom.

    Attributes:
        local: we.
        peer: the destination.
        originator: AE title and message ID of the C-MOVE request.
        is_stopped: asked now and then whether to end early.
        waiting: called now and then while something takes long.
    """

    local: Local
    peer: Peer
    originator: tuple[str, int]
    is_stopped: Callable[[], bool]
    waiting: Callable[[], None]

    def send(self, chosen: Sequence[Chosen], renditions: Renditions) -> Generator[Sent, None, None]:
        """Bring instances there, and yield what became of each; of some nothing, if it is stopped."""
        for batch in sending.batches(chosen):
            if self.is_stopped():
                return
            yield from self._send_batch(batch, renditions)

    def _send_batch(self, batch: Batch, renditions: Renditions) -> Generator[Sent, None, None]:
        done, lost_at = 0, -1
        reason = "the destination ended the association again and again"
        for _ in range(_MOST_ASSOCIATIONS):
            lost = None
            try:
                with associated(self.local, self.peer, batch.contexts) as association:
                    for sent in self._sent(association, batch.chosen[done:], renditions):
                        if sent.lost:
                            lost = sent
                            break
                        done += 1
                        yield sent
            except StaticwadoError as why:
                _log.warning("destination_refused", reason=str(why))
                reason = "there is no association with the destination"
                break
            if lost is None:
                return
            if done == lost_at:  # it isn't the network, it is this object
                done += 1
                yield lost
            else:
                lost_at = done
        for each in batch.chosen[done:]:
            yield Sent(each, None, reason)

    def _sent(
        self, association: Association, chosen: Sequence[Chosen], renditions: Renditions
    ) -> Generator[Sent, None, None]:
        return sending.send(
            association,
            chosen,
            renditions,
            originator=self.originator,
            is_stopped=self.is_stopped,
            waiting=self.waiting,
        )
