import pytest

from staticwado_daemon.archive import multipart
from staticwado_daemon.errors import Corrupt, Rejected


def test_the_framing_is_that_of_static_dicomweb() -> None:
    body = multipart.wrap("image/jls;transfer-syntax=1.2.840.10008.1.2.4.80", b"\xff\xd8")
    boundary = multipart.BOUNDARY.encode()
    assert body == (
        b"--" + boundary + b"\r\nContent-Type: image/jls;transfer-syntax=1.2.840.10008.1.2.4.80\r\n\r\n\xff\xd8\r\n--"
        + boundary + b"--"
    )  # fmt: skip


def test_what_is_wrapped_is_unwrapped() -> None:
    for payload in (b"", b"\r\n\r\n", b"--", bytes(range(256)) * 10):
        content_type, again = multipart.unwrap(multipart.wrap("a/b;c=d", payload))
        assert (content_type, bytes(again)) == ("a/b;c=d", payload)


def test_a_payload_with_the_boundary_is_refused_by_name() -> None:
    with pytest.raises(Rejected, match="boundary"):
        multipart.wrap("a/b", b"x\r\n--" + multipart.BOUNDARY.encode() + b"\r\n")


@pytest.mark.parametrize("damage", [b"", b"--x\r\n\r\n", multipart.wrap("a/b", b"payload")[:-1]])
def test_another_framing_is_corrupt(damage) -> None:
    with pytest.raises(Corrupt):
        multipart.unwrap(damage)
