"""C-ECHO: whether somebody is there who knows us."""

import time

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from staticwado_daemon.dimse.association.requestor import Local, asking, associated, ended
from staticwado_daemon.dimse.contexts import VERIFICATION, messages
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.statuses import SUCCESS, told
from staticwado_daemon.errors import StaticwadoError


def echo(local: Local, peer: Peer) -> float:
    """Ask a peer for nothing but an answer (PS3.4 annex A).

    Returns:
        seconds from the request to its answer, without those for the association.

    Raises:
        StaticwadoError: if there is no association, or no answer of success.
    """
    with associated(local, peer, messages([VERIFICATION])) as association:
        began = time.perf_counter()
        answer = _answer(association, peer)
        seconds = time.perf_counter() - began
        if answer.Status != SUCCESS:
            raise StaticwadoError(f"{peer} answers C-ECHO with: {told(answer)}")
    return seconds


def _answer(association: Association, peer: Peer) -> Dataset:
    with asking(association, peer):
        answer = association.send_c_echo()
    if "Status" not in answer:
        raise ended(association, peer)
    return answer
