"""Instances sent to a peer until each is there: what gets lost on the way, or comes at a bad time, is sent again.

What the peer has answered with success, or has refused for good, is never sent twice.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import PATIENT, Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.operations import Sent, batches, send
from staticwado_daemon.dimse.sending.renditions import Renditions
from staticwado_daemon.dimse.statuses import is_passing
from staticwado_daemon.errors import StaticwadoError, Transient

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """To whom instances are sent, for whom, and how patiently.

    Attributes:
        local: we.
        peer: to whom.
        renditions: makes the objects.
        patience: with associations that are lost, and with refusals that pass.
        retries_refusals: whether an instance is sent again for which the peer is out of resources (0xA7xx).
        originator: AE title and message ID of the C-MOVE request that it is done for.
        is_stopped: asked now and then whether to end early.
        waiting: called now and then while something takes long.
    """

    local: Local
    peer: Peer
    renditions: Renditions
    patience: Patience = PATIENT
    retries_refusals: bool = True
    originator: tuple[str, int] | None = None
    is_stopped: Callable[[], bool] = lambda: False
    waiting: Callable[[], None] = lambda: None

    def send(self, chosen: Sequence[Chosen]) -> Generator[Sent, None, None]:
        """Send instances, and yield what became of each, once; in which order is the network's affair.

        Of those that are left when it is stopped nothing is yielded.

        Raises:
            StaticwadoError: if there was no association at all; afterwards that is the outcome of what is left.
        """
        left = {(each.identity, each.content): each for each in chosen}
        last: dict[object, Sent] = {}
        reached, tries, problem = False, 0, ""
        while left:
            tries, problem = tries + 1, ""
            try:
                for sent in self._round(left.values()):
                    reached = True
                    key = sent.chosen.identity, sent.chosen.content
                    if self._is_to_be_repeated(sent):
                        last[key] = sent
                        # Last, the next time: one at which the peer always ends the association is to cost no other.
                        left[key] = left.pop(key)
                        continue
                    del left[key]
                    tries = 0
                    yield sent
            except StaticwadoError as error:
                if not reached:
                    raise
                problem, tries = str(error), tries if isinstance(error, Transient) else self.patience.tries
            if not left or self.is_stopped():
                return
            if not self.patience.pause(tries):
                break
            _log.info("sent_again", peer=str(self.peer), left=len(left))
        if self.is_stopped():
            return
        for key, each in left.items():
            sent = last.get(key, Sent(each, None, "the association ended before it was sent"))
            yield replace(sent, reason=problem or sent.reason)

    def _round(self, chosen: Iterable[Chosen]) -> Iterator[Sent]:
        """Send each once, on as many associations as they need; some not at all if one of those is lost.

        Raises:
            StaticwadoError: if there is no association; only Transient once there was one.
        """
        for number, batch in enumerate(batches(chosen)):
            if self.is_stopped():
                return
            try:
                with associated(self.local, self.peer, batch.contexts) as association:
                    yield from send(
                        association,
                        batch.chosen,
                        self.renditions,
                        originator=self.originator,
                        is_stopped=self.is_stopped,
                        waiting=self.waiting,
                    )
            except StaticwadoError as error:
                if number == 0 or isinstance(error, Transient):
                    raise
                yield from (Sent(each, None, str(error)) for each in batch.chosen)

    def _is_to_be_repeated(self, sent: Sent) -> bool:
        return sent.lost or (self.retries_refusals and sent.status is not None and is_passing(sent.status))
