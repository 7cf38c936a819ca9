import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from staticwado_daemon.errors import ConfigError, Corrupt, Transient
from staticwado_daemon.web import ohif
from staticwado_daemon.web.ohif import fetch_ohif, main

SCRIPT = b"console.log('viewer');\n" * 100
PACKAGE = {
    "package/package.json": b"{}",
    "package/dist/index.html": b"<!doctype html>",
    "package/dist/app-config.js": b"window.config = {demo: 'https://example.org'}",
    "package/dist/app.bundle.0123456789abcdef.js": SCRIPT,
    "package/dist/app.bundle.0123456789abcdef.js.map": b"{}",
    "package/dist/assets/logo.png": b"\x89PNG" * 1000,
    "package/dist/ort/runtime.wasm": b"ML",
    "package/dist/_headers": b"/*",
}


def tarball(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts an `npm` on the path that delivers these bytes."""

    def install(package: bytes) -> None:
        source = tmp_path / "registry"
        source.write_bytes(package)
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\ncp {source} "$2/a.tgz"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setattr(ohif, "SHA512", hashlib.sha512(package).hexdigest())

    return install


def test_what_is_fetched_can_be_served(tmp_path: Path, npm: Callable[[bytes], None]) -> None:
    npm(tarball(PACKAGE))
    folder = fetch_ohif(tmp_path / "data")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "app-config.js",
        "app.bundle.0123456789abcdef.js",
        "app.bundle.0123456789abcdef.js.gz",
        "assets/logo.png",
        "index.html",
    ]
    assert (folder / "app-config.js").read_text() == ohif.APP_CONFIG
    assert (folder / "app.bundle.0123456789abcdef.js").read_bytes() == SCRIPT
    assert gzip.decompress((folder / "app.bundle.0123456789abcdef.js.gz").read_bytes()) == SCRIPT
    assert list((tmp_path / "data").iterdir()) == [folder], "nothing temporary is left"


def test_what_is_there_is_not_fetched_again(
    tmp_path: Path, npm: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tarball(PACKAGE))
    folder = fetch_ohif(tmp_path / "data")
    monkeypatch.setenv("PATH", "")
    assert fetch_ohif(tmp_path / "data") == folder


def test_without_npm_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"apt install npm.*--ohif"):
        fetch_ohif(tmp_path / "data")


def test_the_real_npm_says_why_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"registry": "http://127.0.0.1:9/", "fetch_retries": "0", "cache": str(tmp_path)}.items():
        monkeypatch.setenv(f"npm_config_{name}", value)
    with pytest.raises(Transient, match=r"can't fetch @ohif/app [\d.]+: \S.*ECONNREFUSED 127\.0\.0\.1:9"):
        fetch_ohif(tmp_path / "data")


@pytest.mark.parametrize("mark", ["npm ERR!", "npm error"])
def test_npm_says_why_before_it_says_where_and_what_to_read(mark: str) -> None:
    told = f"""\
npm WARN deprecated something
{mark} code E404
{mark} 404 Not Found - GET https://npm.invalid/@ohif%2fapp - Not found
{mark} 404
{mark} A complete log of this run can be found in: ~/.npm/_logs/debug-0.log
"""
    assert ohif._reason(told) == "404 Not Found - GET https://npm.invalid/@ohif%2fapp - Not found"


def test_what_else_fails_in_npm_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho first >&2\necho 'network is unreachable' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Transient, match=r"network is unreachable$"):
        fetch_ohif(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_another_package_than_the_tested_one_is_refused(
    tmp_path: Path, npm: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tarball(PACKAGE))
    monkeypatch.setattr(ohif, "SHA512", "0" * 128)
    with pytest.raises(Corrupt, match="not used"):
        fetch_ohif(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_nothing_is_written_outside(tmp_path: Path, npm: Callable[[bytes], None]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = {
        "package/dist/../../../../outside/dots": b"evil",
        f"{outside}/absolute": b"evil",
        "package/dist/link/through": b"evil",
    }
    npm(tarball(PACKAGE | evil, {"package/dist/link": str(outside), "package/dist/passwd": "/etc/passwd"}))
    folder = fetch_ohif(tmp_path / "data")
    assert list(outside.iterdir()) == []
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert (folder / "link").is_dir()
    assert not (folder / "passwd").exists()


def test_a_package_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, npm: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tarball(PACKAGE))
    monkeypatch.setattr(ohif, "_MAXIMUM_UNPACKED", 1000)
    with pytest.raises(Corrupt, match="unpacks to more than"):
        fetch_ohif(tmp_path / "data")


def test_a_package_without_a_page_is_refused(tmp_path: Path, npm: Callable[[bytes], None]) -> None:
    npm(tarball({"package/dist/other.html": b""}))
    with pytest.raises(Corrupt, match=r"no dist/index\.html"):
        fetch_ohif(tmp_path / "data")


def test_fetching_by_hand(
    tmp_path: Path, npm: Callable[[bytes], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tarball(PACKAGE))
    monkeypatch.chdir(tmp_path)
    assert main(["data"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert Path(printed.out.removesuffix("\n")) == fetch_ohif(tmp_path / "data")


def test_fetching_by_hand_fails_with_one_sentence(
    tmp_path: Path, npm: Callable[[bytes], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tarball({}))
    assert main([str(tmp_path / "data")]) == 1
    assert capsys.readouterr().err.endswith("has no dist/index.html; not used\n")
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file" / "data")]) == 1
    assert capsys.readouterr().err.endswith(f": can't write below {tmp_path}/file/data: Not a directory\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(tmp_path / "data")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "npm isn't installed" in printed.err
    assert printed.err.count("\n") == 1


def test_it_is_a_program() -> None:
    program = [sys.executable, "-m", "staticwado_daemon.web.ohif", "--help"]
    ran = subprocess.run(program, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "DIRECTORY" in ran.stdout


@pytest.mark.parametrize(
    ("path", "cache"),
    [
        ("/app.bundle.0f6159c501addfe9.js", ohif.CACHE_HASHED),
        ("/0ddf166f7a343eda.wasm", ohif.CACHE_HASHED),
        ("/a34f9d1faa5f3315.woff2", ohif.CACHE_HASHED),
        ("/index.html", ohif.CACHE_NAMED),
        ("/app.bundle.css", ohif.CACHE_NAMED),
        ("/app-config.js", ohif.CACHE_NAMED),
        ("/dicom-microscopy-viewer/dicomiccwasm.wasm", ohif.CACHE_NAMED),
    ],
)
def test_only_a_name_with_a_hash_is_kept_forever(path: str, cache: str) -> None:
    assert ohif.cache_control(path) == cache


def test_media_types() -> None:
    assert ohif.media_type("/app.bundle.js") == "text/javascript"
    assert ohif.media_type("/x.unheard-of") == "application/octet-stream"
