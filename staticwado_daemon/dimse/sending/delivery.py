"""Instances sent to a peer until each is there: what got lost on the way, or came at a bad time, is sent again.

What the peer has answered with success, or has refused for good, is never sent twice.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.operations import Batch, Sent, batches, send
from staticwado_daemon.dimse.sending.renditions import Renditions
from staticwado_daemon.dimse.statuses import is_passing
from staticwado_daemon.errors import StaticwadoError, Transient

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often something is tried again, and after which pauses: each is twice as long as the one before.

    Attributes:
        tries: how often in a row nothing may come of it before it is given up.
        first_seconds: the first pause.
        longest_seconds: no pause is longer.
        wait: waits so many seconds; what it returns is true if there is nobody to wait for.
    """

    tries: int = 6
    first_seconds: float = 1.0
    longest_seconds: float = 30.0
    wait: Callable[[float], object] = time.sleep

    def pause(self, tries: int) -> bool:
        """Wait after so many tries in a row that brought nothing; False if they were enough."""
        if tries >= self.tries:
            return False
        return not self.wait(min(self.longest_seconds, self.first_seconds * 2.0 ** max(0, tries - 1)))


PATIENT = Patience()


def deliver(
    local: Local, peer: Peer, chosen: Sequence[Chosen], renditions: Renditions, patience: Patience = PATIENT
) -> Iterator[Sent]:
    """Send instances, and yield what became of each, once: in which order is the network's affair.

    Args:
        local: we.
        peer: to whom.
        chosen: what.
        renditions: makes the objects.
        patience: with associations that are lost, and with a peer that is out of resources (0xA7xx).

    Raises:
        StaticwadoError: if there was no association at all; afterwards that is the outcome of what is left.
    """
    left = {(each.identity, each.content): each for each in chosen}
    last: dict[object, Sent] = {}
    reached, tries, problem = False, 0, ""
    while left:
        tries += 1
        try:
            for batch in batches(left.values()):
                for sent in _attempt(local, peer, batch, renditions):
                    reached = True
                    key = sent.chosen.identity, sent.chosen.content
                    if sent.lost or (sent.status is not None and is_passing(sent.status)):
                        last[key] = sent
                        continue
                    del left[key]
                    tries = 0
                    yield sent
        except StaticwadoError as error:
            if not reached:
                raise
            problem, tries = str(error), tries if isinstance(error, Transient) else patience.tries
        if left and not patience.pause(tries):
            break
        if left:
            _log.info("sent_again", peer=str(peer), left=len(left))
    for key, each in left.items():
        yield replace(last.get(key, Sent(each, None)), chosen=each, reason=problem or _reason(last.get(key)))


def _attempt(local: Local, peer: Peer, batch: Batch, renditions: Renditions) -> Iterator[Sent]:
    with associated(local, peer, batch.contexts) as association:
        yield from send(association, batch.chosen, renditions)


def _reason(sent: Sent | None) -> str:
    return sent.reason if sent else "the association ended before it was sent"
