"""Messages of an association: who of its threads gets them."""

import socket
from collections.abc import Iterator

import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from staticwado_daemon.dimse.association.provider import Limits, fit


@pytest.fixture
def association() -> Iterator[Association]:
    """One that doesn't run, with a connection that stands."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        yield fit(Association(AE("STATICWADO"), "requestor"), ours, Limits())


def test_an_answer_is_left_to_who_asked_while_the_loop_is_told_to_rest(association: Association) -> None:
    association.dimse.msg_queue.put((1, "the answer"))
    association._reactor_checkpoint.clear()
    assert association.dimse.get_msg(block=False) == (None, None)
    assert association.dimse.get_msg(block=True) == (1, "the answer")


def test_the_loop_gets_what_nobody_has_asked_for(association: Association) -> None:
    association.dimse.msg_queue.put((1, "a request"))
    assert association.dimse.get_msg(block=False) == (1, "a request")
