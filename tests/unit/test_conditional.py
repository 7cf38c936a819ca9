import pytest

from staticwado_daemon.web.conditional import Version, accepts_gzip, byte_range, precondition

VERSION = Version(length=100, modified=1_700_000_000)
ETAG = '"6553f100-64"'
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
LATER = "Tue, 14 Nov 2023 22:13:21 GMT"
NO_DATES = (
    "",
    "0",
    "yesterday",
    "Tue, 14 Nov 99999999999 22:13:20 GMT",
    "Tue, -Nov-2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 22:13:99 GMT",
    f"Tue, {'9' * 5000} Nov 2023 22:13:20 GMT",
)


def test_the_entity_tag_has_nginx_form() -> None:
    assert (VERSION.etag, VERSION.last_modified) == (ETAG, DATE)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("gzip, deflate, br", True),
        ("br,gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0.5", True),
        ("gzip;q=0.001", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("identity", False),
        ("*", False),
        ("xgzip", False),
        ("gzipped", False),
    ],
)
def test_accepting_gzip(header: str, *, accepted: bool) -> None:
    assert accepts_gzip(header, "1.1") is accepted
    assert not accepts_gzip(header, "1.0")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": f"W/{ETAG}"}, 304),
        ({"if-none-match": f'"x", {ETAG}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": LATER}, 200),
        ({"if-modified-since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),
        ({"if-modified-since": "Tue Nov 14 22:13:20 2023"}, 304),
        *(({"if-modified-since": date}, 200) for date in NO_DATES),
        *(({"if-unmodified-since": date}, 412) for date in NO_DATES),
        ({"if-none-match": ETAG, "if-modified-since": DATE}, 304),
        ({"if-none-match": '"x"', "if-modified-since": DATE}, 200),
        ({"if-none-match": ETAG, "if-modified-since": LATER}, 200),
        ({"if-match": ETAG}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": f"W/{ETAG}"}, 412),
        ({"if-match": '"x"'}, 412),
        ({"if-unmodified-since": DATE}, 200),
        ({"if-unmodified-since": LATER}, 200),
        ({"if-unmodified-since": "Tue, 14 Nov 2023 22:13:19 GMT"}, 412),
    ],
)
def test_conditions(headers: dict[str, str], status: int) -> None:
    assert precondition(headers, VERSION) == status


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-", range(100)),
        ("bytes=10-19", range(10, 20)),
        ("BYTES= 10 - 19 ", range(10, 20)),
        ("bytes=90-1000", range(90, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=100-", range(0)),
        ("bytes=-0", range(0)),
        ("bytes=5-3", range(0)),
        ("bytes=x", range(0)),
        ("bytes=", None),
        ("bytes=0-1,x", range(0)),
        ("bytes=0-1,4-5,x", None),
        ("bytes=9-5,0-1,7-8", None),
        (f"bytes={'0' * 5000}3-{'0' * 5000}5", range(3, 6)),
        (f"bytes=-{'0' * 5000}5", range(95, 100)),
        (f"bytes=0-{(1 << 63) - 1}", range(100)),
        (f"bytes=0-{1 << 63}", range(0)),
        (f"bytes=-{1 << 63}", range(0)),
        (f"bytes=0-{'9' * 5000}", range(0)),
        (f"bytes={'9' * 5000}-", range(0)),
        (f"bytes=-{'9' * 5000}", range(0)),
        ("bytes=0-1,4-5", None),
        ("bytes=0-1,500-", range(2)),
        ("lines=0-1", None),
        ("bytes", None),
    ],
)
def test_ranges(header: str, wanted: range | None) -> None:
    assert byte_range({"range": header}, VERSION) == wanted


def test_nothing_of_an_empty_file_is_everything() -> None:
    assert byte_range({"range": "bytes=0-"}, Version(0, 1)) is None


@pytest.mark.parametrize(
    ("condition", "wanted"), [(ETAG, range(2)), ('"x"', None), (f"W/{ETAG}", None), (DATE, range(2)), (LATER, None)]
)
def test_a_range_of_another_version_is_not_sent(condition: str, wanted: range | None) -> None:
    assert byte_range({"range": "bytes=0-1", "if-range": condition}, VERSION) == wanted
