"""OHIF, the viewer: its configuration, the rules for its files, and where it comes from.

OHIF is a set of static files without a server of its own. Its package on npm holds them ready to be served on `/`;
only `app-config.js` has to be ours, for the one inside points to a public demonstration server.

`python -m staticwado_daemon.web.ohif DIRECTORY` fetches it by hand, and prints the folder to serve.
"""

import argparse
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from staticwado_daemon.errors import ConfigError, Corrupt, StaticwadoError, Transient

PACKAGE = "@ohif/app"
VERSION = "3.13.2"
SHA512 = (
    "5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3dee"
    "a3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10"
)
"""Of the package's tarball: what was tested is what is served."""

APP_CONFIG_URL = "/app-config.js"
APP_CONFIG_TYPE = "text/javascript"
APP_CONFIG = """\
window.config = {
  routerBasename: null, extensions: [], modes: [], customizationService: {},
  showStudyList: true, maxNumberOfWebWorkers: 3,
  investigationalUseDialog: { option: 'never' },
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  defaultDataSourceName: 'static',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'static',
    configuration: {
      friendlyName: 'Static DICOMweb', name: 'static',
      qidoRoot: '/dicomweb', wadoRoot: '/dicomweb', wadoUriRoot: '/dicomweb',
      staticWado: true,
      enableStudyLazyLoad: true,
      imageRendering: 'wadors',
      thumbnailRendering: 'thumbnail', thumbnailRequestStrategy: 'fetch',
      supportsFuzzyMatching: false, supportsWildcard: true, qidoSupportsIncludeField: false,
      singlepart: 'bulkdata,video',
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
      omitQuotationForMultipartRequest: true,
    },
  }],
};
"""
"""Roots are relative to the host, so that it suits any host, port and scheme; OHIF filters query answers itself."""

MEDIA_TYPES: Mapping[str, str] = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "json": "application/json",
    "jsonc": "application/json",
    "map": "application/json",
    "webapp": "application/manifest+json",
    "wasm": "application/wasm",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "xml": "text/xml",
    "txt": "text/plain",
}
"""By extension; all others are application/octet-stream."""

COMPRESSIBLE = ("css", "html", "js", "json", "jsonc", "svg", "wasm", "xml")

HASHED_NAME = r"[./][0-9a-f]{16}\.(?:js|wasm|woff2)$"
"""A URL path whose content never changes: a new version has a new name."""

CACHE_HASHED = "public, max-age=31536000, immutable"
CACHE_NAMED = "no-cache"

HAS_EXTENSION = r"\.[^/]*$"
"""A URL path that names a file; what doesn't is a page of the viewer, such as /viewer, and answered by index.html."""

HIDDEN = r"/\.|^/(?:healthz|metrics)$"
"""A URL path that the viewer hasn't: names that begin with a dot, and what a monitor asks for (`web.health`), to whom a
page would say that all is well."""

_MAXIMUM_UNPACKED = 512 << 20
_MAXIMUM_SECONDS = 900


def fetch_ohif(directory: Path) -> Path:
    """Bring the pinned OHIF into `directory` unless it is there already, and return the folder to serve.

    Left out are the ML runtime of segmentation tools and the source maps, 150 MB of 213. Beside each file that
    compresses well stands its `.gz`. A folder that exists is complete: it is renamed into place as the last step.

    Raises:
        ConfigError: if npm isn't installed.
        Transient: if npm can't fetch the package.
        Corrupt: if the package isn't the one that was tested.
    """
    target = directory / f"ohif-{VERSION}"
    if target.is_dir():
        return target
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(
            f"npm isn't installed, so the viewer {PACKAGE} {VERSION} can't be fetched: install it (apt install npm), "
            "or name an unpacked OHIF with --ohif"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ohif-", dir=directory) as scratch:
        dist = Path(scratch) / "dist"
        _unpack(_pack(npm, Path(scratch)), dist)
        (dist / APP_CONFIG_URL.lstrip("/")).write_text(APP_CONFIG, encoding="utf-8")
        _compress(dist)
        try:
            dist.rename(target)
        except OSError:
            if not target.is_dir():  # if it is there now, another process was quicker
                raise
    return target


def _pack(npm: str, directory: Path) -> Path:
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--loglevel=error", "--pack-destination", str(directory)]
    try:
        run = subprocess.run(  # noqa: S603 (no shell, and every word but the directory is ours)
            command, cwd=directory, capture_output=True, text=True, timeout=_MAXIMUM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Transient(f"npm didn't deliver {PACKAGE} {VERSION} within {_MAXIMUM_SECONDS} s") from error
    tarball = next(directory.glob("*.tgz"), None)
    if run.returncode != 0 or tarball is None:
        raise Transient(f"npm can't fetch {PACKAGE} {VERSION}: {_reason(run.stderr)}")
    with tarball.open("rb") as file:
        if hashlib.file_digest(file, "sha512").hexdigest() != SHA512:
            raise Corrupt(f"npm delivered another {PACKAGE} {VERSION} than the one that was tested; not used")
    return tarball


def _reason(stderr: str) -> str:
    """What npm complains of, without the codes before it and the log file after it."""
    complaints = re.findall(r"(?m)^npm (?:ERR!|error) (?!(?:code|syscall|errno) |A complete log)(.+)$", stderr)
    return (complaints[:1] or stderr.strip().splitlines()[-1:] or ["no reason given"])[0]


def _unpack(tarball: Path, dist: Path) -> None:
    """Write the wanted files below `dist`; links and special files are never made, whatever the archive says."""
    remaining = _MAXIMUM_UNPACKED
    with tarfile.open(tarball) as archive:
        for member, path in _wanted(archive):
            remaining -= member.size
            source = archive.extractfile(member)
            if remaining < 0 or source is None:
                raise Corrupt(f"{PACKAGE} {VERSION} unpacks to more than {_MAXIMUM_UNPACKED >> 20} MiB; not used")
            target = dist / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file)
    if not (dist / "index.html").is_file():
        raise Corrupt(f"{PACKAGE} {VERSION} has no dist/index.html; not used")


def _wanted(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    base = PurePosixPath("package/dist")
    for member in archive:
        name = PurePosixPath(member.name)
        if not member.isfile() or ".." in name.parts or not name.is_relative_to(base):
            continue
        path = name.relative_to(base)
        if path.parts and path.parts[0] != "ort" and path.suffix != ".map" and not path.name.startswith("_"):
            yield member, path


def _compress(dist: Path) -> None:
    for path in sorted(dist.rglob("*")):
        if path.suffix[1:] in COMPRESSIBLE and path.is_file() and path.stat().st_size > 1024:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))


def media_type(path: str) -> str:
    """The Content-Type of one of OHIF's files."""
    return MEDIA_TYPES.get(path.rpartition(".")[2], "application/octet-stream")


def cache_control(path: str) -> str:
    """The Cache-Control of one of OHIF's files, by its URL path."""
    return CACHE_HASHED if re.search(HASHED_NAME, path) else CACHE_NAMED


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the viewer into the directory on the command line and print the folder to serve.

    Returns:
        The exit code: 0 all good, 1 failed, 2 something is to be changed first; then stderr says what, in a sentence.
    """
    program = "python -m staticwado_daemon.web.ohif"
    parser = argparse.ArgumentParser(program, description=f"Fetch {PACKAGE} {VERSION}, the viewer, from npm.")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where its folder is to stand")
    directory = parser.parse_args(arguments).directory.absolute()
    try:
        folder = fetch_ohif(directory)
    except StaticwadoError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except OSError as error:
        sys.stderr.write(f"{program}: can't write below {directory}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
