"""Instances sent to a peer until each is there: what got lost on the way, or came at a bad time, is sent again.

What the peer has answered with success, or has refused for good, is never sent twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import PATIENT, Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.operations import Batch, Sent, batches, send
from staticwado_daemon.dimse.sending.renditions import Renditions
from staticwado_daemon.dimse.statuses import is_passing
from staticwado_daemon.errors import StaticwadoError, Transient

_log = structlog.get_logger(__name__)


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
                        # Last, the next time: one at which the peer always ends the association is to cost no other.
                        left[key] = left.pop(key)
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
