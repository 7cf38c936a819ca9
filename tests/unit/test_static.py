"""Files as answers where the disk or the client is odd; what is usual is shown with real servers."""

import errno
import os
from pathlib import Path

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from staticwado_daemon.archive.routes import File
from staticwado_daemon.web import static
from staticwado_daemon.web.static import Offer, open_beneath

UID = "1.2.840.113619"
OFFER = Offer((File(f"studies/{UID}/thumbnail", "image/jpeg"),), gzip="never", headers={"X-Common": "yes"})


def request(method: str = "GET", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "http_version": "1.1", "headers": raw})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    file = tmp_path / OFFER.files[0].path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"0123456789")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "status"),
    [(errno.EIO, 500), (errno.EMFILE, 500), (errno.ESTALE, 500), (errno.EACCES, 403), (errno.ENOENT, 404)],
)
def test_a_disk_that_fails(root: Path, monkeypatch: pytest.MonkeyPatch, code: int, status: int) -> None:
    def fail(_root: str, path: str) -> int:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(static, "open_beneath", fail)
    with capture_logs() as logs:
        response = static._answer(request(), str(root), OFFER)
    assert (response.status_code, response.headers["x-common"]) == (status, "yes")
    assert UID not in f"{logs} {bytes(response.body)!r}"
    assert [each["event"] for each in logs] == (["file_not_opened"] if status == 500 else [])


@pytest.mark.parametrize("path", ["", "/", "a//b", "../x", "a/../b", "a/.", "./a"])
def test_nothing_is_opened_by_an_odd_path(root: Path, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_beneath(str(root), path)


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=" + ",".join(["0-"] * 2000),
        "bytes=" + "0" * 16_000 + "-",
        "bytes=-" + "9" * 16_000,
        "bytes=" + " " * 16_000 + "0-",
        "bytes=0-1," * 1500,
    ],
    ids=["many", "zeros", "nines", "spaces", "commas"],
)
def test_a_range_that_is_meant_to_hurt(root: Path, wanted: str) -> None:
    response = static._answer(request(range=wanted), str(root), OFFER)
    assert response.status_code in (200, 206, 416)
    assert len(response.body) <= 10


@pytest.mark.parametrize("name", ["if_none_match", "if_match", "if_modified_since", "if_unmodified_since", "if_range"])
@pytest.mark.parametrize(
    "value", ['"' * 8000, "W/," * 5000, "\xff" * 8000, "Mon, 01 Jan 0001 00:00:00 GMT", "*" * 8000]
)
def test_a_condition_that_is_meant_to_hurt(root: Path, name: str, value: str) -> None:
    response = static._answer(request(**{name: value, "range": "bytes=0-4"}), str(root), OFFER)
    assert response.status_code in (200, 206, 412)


def test_accept_encoding_that_is_meant_to_hurt(root: Path) -> None:
    header = "gzip " + " " * 8000 + "; q=" + "gzip;" * 1500
    assert static._answer(request(accept_encoding=header), str(root), OFFER).status_code == 200
