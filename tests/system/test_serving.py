"""nginx with the generated configuration and the embedded server give the same answers, and the right ones.

Compared are status, body and the headers of `COMPARED`. Not compared: Date, Server, Connection, Transfer-Encoding
(each server's own business) and, for errors, the body with its type and length (a line of text; clients don't read it).
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from staticwado_daemon.archive.routes import RESOURCES
from tests.system.programs import running, write_config
from tests.system.servers import Answer, start_embedded, start_nginx_for
from tests.system.tiny_tree import SAMPLES, VIEWER, Sample, Site, serve_both

COMPARED = (
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "etag",
    "last-modified",
    "vary",
    "x-content-type-options",
)
OF_THE_BODY = ("content-length", "content-type")

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
ENCODINGS = ({}, {"Accept-Encoding": "identity"}, GZIP, {"Accept-Encoding": "deflate, gzip;q=0"})
RANGES = (
    *("bytes=0-", "bytes=5-9", "bytes=-7", "bytes=20-1000000000", "bytes=9-5", "bytes=1000000000-", "bytes=0-1,3-4"),
    *("bytes=", "bytes=x", "bytes=0-1,x", "bytes=0-1,3-4,x", "bytes=9-5,0-1"),
    *(f"bytes=0-{(1 << 63) - 1}", f"bytes=0-{1 << 63}", f"bytes=-{1 << 63}"),
    *(f"bytes=0-{'9' * 5000}", f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}", f"bytes={'0' * 5000}-5"),
)
NO_DATES = ("yesterday", "Tue, 14 Nov 99999999999 22:13:20 GMT", f"Tue, {'9' * 5000} Nov 2023 22:13:20 GMT")

gzipped = [sample for sample in SAMPLES if sample.gzipped]
ranged = [sample for sample in SAMPLES if sample.ranges]


@pytest.fixture(scope="module", params=[None, "https://viewer.example"], ids=["own", "shared"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve_both(tmp_path_factory.mktemp("site"), viewer=True, allow_origin=request.param) as site:
        yield site


def ask_both(site: Site, target: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    """The answer of nginx, after making sure that the embedded server gives the same."""
    nginx, embedded = (server.ask(target, headers, method) for server in (site.nginx, site.embedded))
    is_error = nginx.status >= 400
    names = [name for name in COMPARED if not (is_error and name in OF_THE_BODY)]
    assert embedded.status == nginx.status
    assert {name: embedded.headers.get(name) for name in names} == {name: nginx.headers.get(name) for name in names}
    assert is_error or embedded.body == nginx.body
    return nginx


def test_every_row_of_the_table_has_a_sample() -> None:
    assert {sample.row for sample in SAMPLES} == {row.name for row in RESOURCES}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda headers: headers.get("Accept-Encoding", "absent"))
def test_every_row(site: Site, sample: Sample, encoding: dict[str, str]) -> None:
    answer = ask_both(site, sample.target, {"Accept": sample.accept, **encoding})
    packed = sample.gzipped and encoding is GZIP
    unpacked = sample.gzipped and not packed
    file = site.root / sample.file
    assert answer.status == 200
    assert answer.body == (file.read_bytes() if packed else sample.content)
    assert answer.headers["content-type"] == sample.media_type
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    assert answer.headers.get("content-length") == (None if unpacked else str(file.stat().st_size))
    assert answer.headers["etag"].startswith("W/") is unpacked
    assert answer.headers["cache-control"] == sample.cache
    assert answer.headers.get("vary") == sample.vary
    assert answer.headers.get("accept-ranges") == ("bytes" if sample.ranges else None)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get("access-control-allow-origin") == site.allow_origin
    assert answer.headers["cross-origin-resource-policy"] == ("cross-origin" if site.allow_origin else "same-origin")
    assert answer.headers.get("content-security-policy") == sample.policy
    assert answer.headers.get("content-disposition") == sample.saved_as


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda headers: headers.get("Accept-Encoding", "absent"))
def test_head_says_what_get_says(site: Site, sample: Sample, encoding: dict[str, str]) -> None:
    headers = {"Accept": sample.accept, **encoding}
    head = ask_both(site, sample.target, headers, "HEAD")
    get = site.nginx.ask(sample.target, headers)
    assert (head.status, head.body) == (200, b"")
    assert {n: head.headers.get(n) for n in COMPARED} == {n: get.headers.get(n) for n in COMPARED}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("encoding", [{}, GZIP], ids=["plain", "gzip"])
def test_what_a_client_has_is_not_sent_again(site: Site, sample: Sample, encoding: dict[str, str]) -> None:
    headers = {"Accept": sample.accept, **encoding}
    first = site.nginx.ask(sample.target, headers)
    for condition in (
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": f'"other", {first.headers["etag"]}'},
        {"If-Modified-Since": first.headers["last-modified"]},
        {"If-None-Match": first.headers["etag"], "Range": "bytes=0-1"},
    ):
        again = ask_both(site, sample.target, {**headers, **condition})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"].removeprefix("W/")
        assert again.headers["cache-control"] == sample.cache
    assert ask_both(site, sample.target, {**headers, "If-None-Match": '"other"'}).status == 200
    assert ask_both(site, sample.target, {**headers, "If-Match": '"other"'}).status == 412


@pytest.mark.parametrize("sample", ranged, ids=str)
@pytest.mark.parametrize("wanted", RANGES, ids=lambda wanted: wanted[:32])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_byte_ranges(site: Site, sample: Sample, wanted: str, method: str) -> None:
    ask_both(site, sample.target, {"Range": wanted, **GZIP}, method)


@pytest.mark.parametrize("date", NO_DATES, ids=lambda date: date[:32])
def test_a_date_that_is_none_is_no_error(site: Site, date: str) -> None:
    target = ranged[0].target
    assert ask_both(site, target, {"If-Modified-Since": date}).status == 200
    assert ask_both(site, target, {"If-Unmodified-Since": date}).status == 412
    assert ask_both(site, target, {"If-Range": date, "Range": "bytes=0-1"}).status == 200


@pytest.mark.parametrize("sample", ranged, ids=str)
def test_the_right_bytes(site: Site, sample: Sample) -> None:
    length = len(sample.content)
    part = ask_both(site, sample.target, {"Range": f"bytes=3-{length - 4}"})
    assert (part.status, part.body) == (206, sample.content[3:-3])
    assert part.headers["content-range"] == f"bytes 3-{length - 4}/{length}"
    beyond = ask_both(site, sample.target, {"Range": f"bytes={length}-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{length}")
    for condition, status in (
        (part.headers["etag"], 206),
        (part.headers["last-modified"], 206),
        ('"other"', 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ):
        assert ask_both(site, sample.target, {"Range": "bytes=0-0", "If-Range": condition}).status == status


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if not sample.ranges], ids=str)
@pytest.mark.parametrize("encoding", [{}, GZIP], ids=["plain", "gzip"])
def test_no_range_where_the_table_has_none(site: Site, sample: Sample, encoding: dict[str, str]) -> None:
    headers = {"Accept": sample.accept, **encoding}
    answer = ask_both(site, sample.target, {**headers, "Range": "bytes=1-3"})
    assert (answer.status, answer.body) == (200, site.nginx.ask(sample.target, headers).body)


@pytest.mark.parametrize("sample", gzipped, ids=str)
def test_a_client_of_http_1_0_gets_it_unpacked(site: Site, sample: Sample) -> None:
    headers = {"Accept": sample.accept, **GZIP}
    for server in (site.nginx, site.embedded):
        answer = server.ask(sample.target, headers, version=10)
        assert (answer.status, answer.body) == (200, sample.content)


@pytest.mark.parametrize("target", ["/dicomweb/studies", "/app.bundle.css"])
def test_a_proxy_in_between_changes_nothing(site: Site, target: str) -> None:
    answer = ask_both(site, target, {**GZIP, "Via": "1.1 proxy.example"})
    assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    "query", ["?", "?limit=101&offset=0&fuzzymatching=false", "?PatientName=*x*&00100020=", "?a=b/../c"]
)
def test_other_arguments_are_ignored(site: Site, query: str) -> None:
    assert ask_both(site, f"/dicomweb/studies{query}", GZIP).body == site.nginx.ask("/dicomweb/studies", GZIP).body


@pytest.mark.parametrize(
    "target",
    [
        "studies?offset=1",
        "studies?limit=100&offset=100",
        "studies?StudyInstanceUID=1.9",
        "studies?0020000D=1.9&offset=0",
        "studies/1.2.840.1/series?SeriesInstanceUID=1.9",
        "studies/1.2.840.1/series?offset=1",
        "studies/1.2.840.1/instances?SeriesInstanceUID=1.9",
        "studies/1.2.840.1/series/1.2.840.2/instances?offset=25",
    ],
)
def test_a_search_without_a_match_is_empty(site: Site, target: str) -> None:
    answer = ask_both(site, f"/dicomweb/{target}", GZIP)
    assert (answer.status, answer.body, answer.headers.get("content-type")) == (204, b"", None)


@pytest.mark.parametrize(
    ("target", "media_type", "cache"),
    [
        ("/index.html", "text/html", "no-cache"),
        ("/app.bundle.0123456789abcdef.js", "text/javascript", "public, max-age=31536000, immutable"),
        ("/0123456789abcdef.wasm", "application/wasm", "public, max-age=31536000, immutable"),
        ("/app.bundle.css", "text/css", "no-cache"),
        ("/assets/logo.png", "image/png", "no-cache"),
    ],
)
@pytest.mark.parametrize("encoding", [{}, GZIP], ids=["plain", "gzip"])
def test_the_files_of_the_viewer(
    site: Site, target: str, media_type: str, cache: str, encoding: dict[str, str]
) -> None:
    answer = ask_both(site, target, encoding)
    content = VIEWER[target.lstrip("/")]
    packed = answer.headers.get("content-encoding") == "gzip"
    assert packed is (encoding is GZIP and not target.endswith(".png"))
    assert (gzip.decompress(answer.body) if packed else answer.body) == content
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (media_type, cache)
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert ask_both(site, target, {**encoding, "If-None-Match": answer.headers["etag"]}).status == 304
    ask_both(site, target, {**encoding, "Range": "bytes=1-3"})
    ask_both(site, target, encoding, "HEAD")


@pytest.mark.parametrize("target", ["/", "/viewer?StudyInstanceUIDs=1.2", "/tmtv", "/microscopy/", "/a/b/c"])
def test_the_pages_of_the_viewer_are_its_one_page(site: Site, target: str) -> None:
    answer = ask_both(site, target)
    assert (answer.status, answer.body) == (200, VIEWER["index.html"])
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("text/html", "no-cache")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_configuration_of_the_viewer_is_ours(site: Site, method: str) -> None:
    answer = ask_both(site, "/app-config.js", GZIP, method)
    assert answer.headers["content-type"] == "text/javascript"
    assert answer.headers["cache-control"] == "no-cache"
    assert method == "HEAD" or b"qidoRoot: '/dicomweb'" in answer.body


@pytest.fixture(scope="module")
def new_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a daemon makes that has never seen a file."""
    directory = tmp_path_factory.mktemp("new")
    (directory / "inbound").mkdir()
    root = directory / "tree"
    inbound = [{"dir": str(directory / "inbound")}]
    with running(write_config(directory / "config", {"rootDir": str(root)}, {"inbound": inbound})) as daemon:
        daemon.until(lambda: daemon.status()["running"], "a running daemon")
        daemon.wait_until_idle()
    return root


@pytest.mark.parametrize("query", ["", "?limit=101&offset=0&fuzzymatching=false"])
@pytest.mark.parametrize("encoding", [{}, GZIP], ids=["plain", "gzip"])
def test_a_new_tree_is_an_empty_list(new_tree: Path, tmp_path: Path, encoding: dict[str, str], query: str) -> None:
    with start_nginx_for(new_tree, tmp_path / "prefix") as nginx, start_embedded(new_tree) as embedded:
        for server in (nginx, embedded):
            answer = server.ask(f"/dicomweb/studies{query}", encoding)
            packed = answer.headers.get("content-encoding") == "gzip"
            assert (answer.status, packed) == (200, encoding is GZIP)
            assert answer.headers["content-type"] == "application/dicom+json"
            assert json.loads(gzip.decompress(answer.body) if packed else answer.body) == []
