from itertools import repeat

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
        for given in (payload, memoryview(payload)):
            content_type, again = multipart.unwrap(multipart.wrap("a/b;c=d", given))
            assert (content_type, bytes(again)) == ("a/b;c=d", payload)


@pytest.mark.parametrize("before", [b"", b"x", b"x\r\n"])
@pytest.mark.parametrize("after", [b"", b"x", b"\r\n"])
def test_a_payload_with_the_boundary_is_refused_by_name(before: bytes, after: bytes) -> None:
    payload = before + b"--" + multipart.BOUNDARY.encode() + after
    for given in (payload, memoryview(payload)):
        with pytest.raises(Rejected, match="boundary"):
            multipart.wrap("a/b", given)


def test_most_of_the_boundary_is_not_the_boundary() -> None:
    for payload in (multipart.BOUNDARY.encode(), b"--" + multipart.BOUNDARY.encode()[:-1]):
        assert multipart.unwrap(multipart.wrap("a/b", payload))[1] == payload


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"--x\r\n\r\n",
        multipart.wrap("a/b", b"payload")[:-1],
        multipart.wrap("a/b", b"payload").replace(b"a/b", b"a\xaf\xe2"),
    ],
)
def test_another_framing_is_corrupt(damage) -> None:
    with pytest.raises(Corrupt):
        multipart.unwrap(damage)


@pytest.mark.parametrize("size", [1, 7, 43, 1000])
def test_what_comes_in_pieces_is_wrapped_as_what_comes_at_once(size: int) -> None:
    payload = b"--BOUND" * 100
    given = [payload[start : start + size] for start in range(0, len(payload), size)]
    assert b"".join(multipart.wrap_pieces("a/b", given)) == multipart.wrap("a/b", payload)
    hit = b"x" * 50 + b"--" + multipart.BOUNDARY.encode() + b"y" * 50
    given = [hit[start : start + size] for start in range(0, len(hit), size)]
    with pytest.raises(Rejected):
        list(multipart.wrap_pieces("a/b", given))


@pytest.mark.parametrize("size", [1, 7, 43, 1000])
def test_what_comes_in_pieces_is_unwrapped_as_what_comes_at_once(size: int) -> None:
    body = multipart.wrap("a/b", b"--BOUND\r\n\r\n" * 100)
    given = [body[start : start + size] for start in range(0, len(body), size)]
    assert b"".join(multipart.unwrap_pieces(given)) == multipart.unwrap(body)[1]
    with pytest.raises(Corrupt):
        list(multipart.unwrap_pieces(given[:-1]))


def test_a_beginning_that_is_none_is_not_searched_for_without_end() -> None:
    with pytest.raises(Corrupt):
        list(multipart.unwrap_pieces(repeat(b"damaged")))
