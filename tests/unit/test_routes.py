import re

import pytest

from staticwado_daemon.archive import layout, routes
from staticwado_daemon.archive.multipart import BOUNDARY
from staticwado_daemon.archive.routes import COMMON_HEADERS, RESOURCES, Cache, argument, find
from staticwado_daemon.archive.sharing import Sharing
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import ConfigError

SHA256 = "0123456789abcdef" * 4
IDENTITY = Identity(UID("1.2"), UID("1.2.3"), UID("1.2.3.4"))
STUDY = layout.study_dir(IDENTITY.study)
SERIES = layout.series_dir(IDENTITY.study, IDENTITY.series)
INSTANCE = layout.instance_dir(IDENTITY)
JSON = "application/dicom+json"

# What the archive writes, by the URL below /dicomweb that must find it; JSON is what Accept says.
WRITTEN = [
    ("studies", layout.STUDIES_INDEX, JSON),
    (STUDY, f"{STUDY}/index.json.gz", JSON),
    (f"{STUDY}/{layout.METADATA.removesuffix('.gz')}", f"{STUDY}/{layout.METADATA}", JSON),
    (f"{STUDY}/series", f"{STUDY}/series/index.json.gz", JSON),
    (f"{STUDY}/instances", f"{STUDY}/instances/index.json.gz", JSON),
    (SERIES, f"{SERIES}/series-singleton.json.gz", JSON),
    (f"{SERIES}/metadata", f"{SERIES}/{layout.METADATA}", JSON),
    (f"{SERIES}/instances", f"{SERIES}/instances/index.json.gz", JSON),
    (f"{INSTANCE}/metadata", f"{INSTANCE}/{layout.METADATA}", JSON),
    (INSTANCE, f"{INSTANCE}/{layout.FULL_INSTANCE}", "*/*"),
    (f"{INSTANCE}/frames/12", f"{INSTANCE}/{layout.frame(12, gzipped=False)}", "*/*"),
    (f"{INSTANCE}/frames/12", f"{INSTANCE}/{layout.frame(12, gzipped=True)}", "*/*"),
    (f"{INSTANCE}/lossy/12", f"{INSTANCE}/lossy/12.mht", "*/*"),
    (f"{INSTANCE}/htj2k-Thumbnail_2/12", f"{INSTANCE}/htj2k-Thumbnail_2/12.mht.gz", "*/*"),
    *(
        (f"{INSTANCE}/rendered", f"{INSTANCE}/{layout.rendered(extension)}", "*/*")
        for extension in (*routes.VIDEO, *routes.DOCUMENTS, *routes.DOWNLOADS)
    ),
    (f"{INSTANCE}/rendered", f"{INSTANCE}/{layout.rendered_frame(1)}", "*/*"),
    (f"{INSTANCE}/frames/12/rendered", f"{INSTANCE}/{layout.rendered_frame(12)}", "*/*"),
    (f"{STUDY}/{layout.THUMBNAIL}", f"{STUDY}/{layout.THUMBNAIL}", "image/jpeg"),
    (f"{SERIES}/{layout.THUMBNAIL}", f"{SERIES}/{layout.THUMBNAIL}", "image/jpeg"),
    (f"{INSTANCE}/{layout.THUMBNAIL}", f"{INSTANCE}/{layout.THUMBNAIL}", "image/jpeg"),
    (f"{STUDY}/{layout.bulk_uri(SHA256)}", f"{STUDY}/{layout.bulk_file(SHA256, gzipped=False)}", "*/*"),
    (f"{STUDY}/{layout.bulk_uri(SHA256)}", f"{STUDY}/{layout.bulk_file(SHA256, gzipped=True)}", "*/*"),
]


def candidates(match: routes.Match) -> set[str]:
    paths = {file.path for file in match.files}
    return paths | {f"{path}.gz" for path in paths} if match.resource and match.resource.gzip else paths


@pytest.mark.parametrize(("url", "file", "accept"), WRITTEN)
def test_what_the_archive_writes_is_found(url: str, file: str, accept: str) -> None:
    assert file in candidates(find(f"/dicomweb/{url}", accept=accept))


def test_every_row_finds_something_that_is_written() -> None:
    found = {find(f"/dicomweb/{url}", accept=accept).resource for url, _, accept in WRITTEN}
    assert found == set(RESOURCES)


@pytest.mark.parametrize("url", sorted({url for url, _, _ in WRITTEN}))
def test_no_url_belongs_to_two_rows(url: str) -> None:
    assert sum(bool(re.fullmatch(row.pattern, f"/dicomweb/{url}")) for row in RESOURCES) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/dicomweb",
        "/dicomweb/",
        "/dicomweb/series",
        "/dicomweb/instances",
        "/studies",
        "/dicomweb/studies.json",
        "/dicomweb/studies/index.json.gz",
        "/dicomweb/studies/..",
        "/dicomweb/studies/.",
        "/dicomweb/studies/1..2/metadata",
        "/dicomweb/studies/.1/metadata",
        "/dicomweb/studies/1./metadata",
        "/dicomweb/studies/1.2a/metadata",
        "/dicomweb/studies/\u0661.\u0662/metadata",
        "/dicomweb/studies/1.2/metadata/",
        "/dicomweb/studies/1.2/metadata.gz",
        "/dicomweb/studies/1.2/metadata\n",
        "/dicomweb/studies\n",
        "/dicomweb/studies/1.2/series/../../../instances",
        f"/dicomweb/{INSTANCE}/frames",
        f"/dicomweb/{INSTANCE}/frames/0",
        f"/dicomweb/{INSTANCE}/frames/01",
        f"/dicomweb/{INSTANCE}/frames/1,2",
        f"/dicomweb/{INSTANCE}/frames/1.mht",
        f"/dicomweb/{INSTANCE}/rendered/index.pdf",
        f"/dicomweb/{INSTANCE}/rendered/1",
        f"/dicomweb/{INSTANCE}/rendered/1.jpg",
        f"/dicomweb/{INSTANCE}/thumbnail/1",
        f"/dicomweb/{INSTANCE}/lossy/1.mht",
        f"/dicomweb/{INSTANCE}/{'l' * 33}/1",
        f"/dicomweb/{INSTANCE}/../1",
        f"/dicomweb/{INSTANCE}/lossy.old/1",
        f"/dicomweb/{STUDY}/bulkdata/{SHA256}",
        f"/dicomweb/{STUDY}/{layout.bulk_uri(SHA256.upper())}",
        f"/dicomweb/{STUDY}/{layout.bulk_uri(SHA256)}.gz",
        "/dicomweb/instances/1.2/0123.gz",
        "/dicomweb/deduplicated/1.2/0123.gz",
        "/dicomweb/restore/1.2/0123",
        f"/dicomweb/{layout.FORMAT}",
    ],
)
def test_nothing_else_exists(path: str) -> None:
    match = find(path, accept=JSON)
    assert (match.files, match.missing) == ((), 404)


@pytest.mark.parametrize("url", ["studies/", f"{STUDY}/series/", f"{STUDY}/instances/", f"{SERIES}/instances/"])
def test_a_slash_may_follow_a_search(url: str) -> None:
    assert find(f"/dicomweb/{url}").files == find(f"/dicomweb/{url.rstrip('/')}").files != ()


@pytest.mark.parametrize(
    ("url", "query", "file"),
    [
        ("studies", "StudyInstanceUID=1.2", "studies/1.2/index.json"),
        ("studies", "limit=101&offset=0&0020000D=1.2&PatientName=*x*", "studies/1.2/index.json"),
        ("studies", "StudyInstanceUID=&0020000D=1.2", "studies/1.2/index.json"),
        (f"{STUDY}/series", "SeriesInstanceUID=1.9", "studies/1.2/series/1.9/series-singleton.json"),
        (f"{STUDY}/series", "0020000e=1.9", "studies/1.2/series/1.9/series-singleton.json"),
        (f"{STUDY}/instances", "SeriesInstanceUID=1.9", "studies/1.2/series/1.9/instances/index.json"),
    ],
)
def test_a_single_uid_has_a_file_of_its_own(url: str, query: str, file: str) -> None:
    match = find(f"/dicomweb/{url}", query)
    assert [found.path for found in match.files] == [file]
    assert match.missing == 204, "a search without a match is empty"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "PatientName=*x*",
        "StudyInstanceUID=",
        "StudyInstanceUID=1.2,1.3",
        "StudyInstanceUID=1.2%5C1.3",
        "StudyInstanceUID=..",
        "StudyInstanceUID=../../etc",
        "StudyInstanceUID=1..2",
        "StudyInstanceUID=1.2/series",
        "StudyInstanceUID=*",
        "xStudyInstanceUID=1.2",
        "offset=0",
        "offset=",
        "offset=x1",
        "limit=5",
    ],
)
def test_what_files_cannot_filter_is_ignored(query: str) -> None:
    match = find("/dicomweb/studies", query)
    assert [file.path for file in match.files] == ["studies/index.json"]
    assert match.missing == 404


@pytest.mark.parametrize("query", ["offset=1", "offset=100&limit=100", "OFFSET=007", "StudyInstanceUID=1.2&offset=1"])
@pytest.mark.parametrize("url", ["studies", f"{STUDY}/series", f"{STUDY}/instances", f"{SERIES}/instances"])
def test_a_later_page_of_a_search_is_empty(url: str, query: str) -> None:
    match = find(f"/dicomweb/{url}", query)
    assert (match.files, match.missing) == ((), 204)


def test_only_searches_have_pages() -> None:
    assert find(f"/dicomweb/{SERIES}/metadata", "offset=1").files


@pytest.mark.parametrize("url", [STUDY, SERIES])
@pytest.mark.parametrize(
    ("accept", "exists"),
    [
        (JSON, True),
        ("text/html, Application/JSON;q=0.5", True),
        ("", False),
        ("*/*", False),
        ('multipart/related; type="application/dicom"', False),
    ],
)
def test_a_study_or_series_is_a_record_for_who_asks_for_json(url: str, accept: str, *, exists: bool) -> None:
    assert bool(find(f"/dicomweb/{url}", accept=accept).files) is exists


def test_an_instance_is_part_10_but_not_for_who_asks_for_json() -> None:
    assert find(f"/dicomweb/{INSTANCE}").files[0].media_type.startswith('multipart/related; type="application/dicom"')
    assert find(f"/dicomweb/{INSTANCE}", accept=JSON).files == ()


def test_multipart_names_the_boundary_of_the_tree() -> None:
    multipart = {file.media_type for row in RESOURCES for file in row.files if "multipart" in file.media_type}
    assert multipart == {
        f'multipart/related; type="application/octet-stream"; boundary={BOUNDARY}',
        f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
    }


def test_only_bulk_data_never_changes() -> None:
    immutable = {row.name for row in RESOURCES if row.cache is Cache.IMMUTABLE}
    assert immutable == {"bulk data"}
    assert all(cache.startswith("private") for cache in Cache)


def test_what_could_act_in_a_browser_is_saved_and_not_shown() -> None:
    rendered = {file.path.rpartition(".")[2]: file for file in find(f"/dicomweb/{INSTANCE}/rendered").files}
    for extension in routes.DOWNLOADS:
        assert rendered[extension].media_type == "application/octet-stream"
        assert rendered[extension].headers == {
            "Content-Disposition": f'attachment; filename="document.{extension}"',
            "Content-Security-Policy": "sandbox",
        }
    shown = {file.media_type for row in RESOURCES for file in row.files if not file.download}
    plain = {media_type for media_type in shown if "multipart" not in media_type}
    video = {"video/mp4", "video/mpeg", "video/MP2T", "video/H264", "video/H265"}
    assert plain == video | {"application/dicom+json", "application/pdf", "model/stl", "image/jpeg", "image/png"}
    assert all(file.headers == {} for row in RESOURCES for file in row.files if not file.download)


@pytest.mark.parametrize("name", ["frames", "rendered", "bulkdata", "metadata", "thumbnail", "instances", "", "a" * 33])
def test_names_of_our_own_are_no_alternate_names(name: str) -> None:
    assert not re.fullmatch(layout.ALTERNATE_NAME, name)
    assert layout.is_blob(f"{name}/1.mht") == (name == "frames")


@pytest.mark.parametrize("name", ["lossy", "frames2", "rendered-small", "HTJ2K_thumbnail", "a" * 32, "1"])
def test_alternate_names(name: str) -> None:
    assert re.fullmatch(layout.ALTERNATE_NAME, name)
    assert layout.is_blob(f"{name}/1.mht")


def test_a_gzipped_resource_has_one_file() -> None:
    # nginx can't choose among files of which only the gzipped form exists
    assert all(len(row.files) == 1 for row in RESOURCES if row.gzip)


def test_names_are_unique() -> None:
    assert len({row.name for row in RESOURCES}) == len(RESOURCES)


@pytest.mark.parametrize(
    ("query", "value"),
    [("a=1&a=2", "1"), ("A=1", "1"), ("a&a=2", "2"), ("ba=1&a=2", "2"), ("a=%31", "%31"), ("a=b=c", "b=c"), ("", "")],
)
def test_arguments_are_read_as_nginx_reads_them(query: str, value: str) -> None:
    assert argument(query, "a") == value


def test_by_default_nothing_is_shared_with_other_hosts() -> None:
    assert Sharing.with_origin(None) == Sharing({}, {})
    assert COMMON_HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "origin", ["*", "https://viewer.example", "http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"]
)
def test_sharing_with_an_origin(origin: str) -> None:
    sharing = Sharing.with_origin(origin)
    assert sharing.answer["Access-Control-Allow-Origin"] == origin
    assert sharing.answer["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert sharing.preflight["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "viewer.example",
        "https://viewer.example/",
        "https://Viewer.example",
        "https://viewer.example:443",
        "http://[::1]:80",
        "https://*.example",
        "https://a.example https://b.example",
        "ftp://viewer.example",
        'https://viewer.example";',
        "https://$host",
        "https://viewer.example\nX: y",
        "**",
        "null",
    ],
)
def test_what_no_browser_would_send_is_no_origin(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"isn't an origin: say .* such as https://"):
        Sharing.with_origin(origin)
