"""What a browser meets: the web server's answers, header by header, and the viewer that is to show them.

The URL table says how each answer has to look, and the tree what it has to hold. A web server with another
configuration than ours, or a proxy in between that means well, differs in one of the two.
"""

import base64
import gzip
import http.client
import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from staticwado_daemon.archive import routes
from staticwado_daemon.archive.multipart import BOUNDARY
from staticwado_daemon.archive.sharing import Sharing
from staticwado_daemon.errors import Corrupt, Transient
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine

_SECONDS = 15.0
_LOOKED_AT = 50
"""Studies among which one with a frame is looked for."""

_ROOTS = re.compile(r"\b(qidoRoot|wadoRoot)\s*:\s*['\"]([^'\"]+)['\"]")
_REMEDY = "make the web server's configuration again with `staticwado nginx-config`, and let no proxy change answers"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a browser finds the tree.

    Attributes:
        url: scheme and host, perhaps with USER:PASSWORD@; /dicomweb is below it.
        allow_origin: whose pages may read it besides its own.
        viewer: whether OHIF is expected there.
    """

    url: str
    allow_origin: str | None = None
    viewer: bool = False

    @property
    def shown(self) -> str:
        """The URL without a password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # as it travelled

    def content(self) -> bytes:
        """The body, unpacked as a browser does.

        Raises:
            Transient: if it isn't what its Content-Encoding says.
        """
        if self.headers.get("content-encoding", "identity") == "identity":
            return self.body
        try:
            return gzip.decompress(self.body)
        except (OSError, EOFError, zlib.error):
            raise Transient("an answer that calls itself gzip can't be unpacked") from None


def studies(site: Address, root: Path) -> Finding:
    """Whether the list of studies arrives as it stands in the tree."""
    return _compared(site, root, "/dicomweb/studies") or fine(f"{site.shown}/dicomweb/studies is this tree's list")


def images(site: Address, root: Path) -> Finding:
    """Whether the metadata of a series and one of its frames arrive as they stand in the tree."""
    found = next(_frames(root), None)
    if found is None:
        return fine("there is no image yet")
    parts = found.relative_to(root).parts
    series = "/".join(parts[:4])
    for path in (f"/dicomweb/{series}/metadata", f"/dicomweb/{'/'.join(parts[:6])}/frames/1"):
        if finding := _compared(site, root, path):
            return finding
    return fine("metadata and a frame arrive as they are stored, and may be shown in an isolated page")


def viewer(site: Address) -> Finding:
    """Whether OHIF is there and reads this tree."""
    page = _ask(site, "/", "text/html")
    if page.status == http.client.NOT_FOUND:
        if site.viewer:
            return attention(f"OHIF is configured, but {site.shown}/ has no page: see daemonConfig.serve.ohif")
        return fine(f"none on {site.shown}/ (`--ohif` of `staticwado nginx-config` serves one)")
    if refused := _refused(site, page, "/"):
        return refused
    if wrong := _differs(page, {**routes.COMMON_HEADERS, "Content-Type": "text/html"}):
        return attention(f"{site.shown}/: {wrong}; {_REMEDY}")
    settings = _ask(site, "/app-config.js")
    if refused := _refused(site, settings, "/app-config.js"):
        return refused
    roots = dict(_ROOTS.findall(settings.content().decode("utf-8", "replace")))
    here = f"{site.shown}/dicomweb"
    for name in ("qidoRoot", "wadoRoot"):
        if (found := urljoin(f"{site.shown}/", roots.get(name, "/")).rstrip("/")) != here:
            return attention(f"OHIF asks {found} for images ({name} in app-config.js), not {here}: {_REMEDY}")
    return fine(f"OHIF on {site.shown}/ reads {here}")


def _frames(root: Path) -> Iterator[Path]:
    """First frames of instances, one for each of some studies."""
    studies = root / "studies"
    for study in itertools.islice(studies.iterdir() if studies.is_dir() else (), _LOOKED_AT):
        if study.is_dir() and (frame := next(study.glob("series/*/instances/*/frames/1.mht*"), None)):
            yield frame


def _compared(site: Address, root: Path, path: str) -> Finding | None:
    """What is wrong with an answer from the tree; None if it is as it should be."""
    match = routes.find(path)
    resource, (file, *_) = match.resource, match.files
    stored, packed = _stored(root, file.path)
    answer = _ask(site, path)
    if stored is None:
        return fine("there is no study yet") if path == "/dicomweb/studies" else None
    if refused := _refused(site, answer, path):
        return refused
    expected = {
        **routes.COMMON_HEADERS,
        **Sharing.with_origin(site.allow_origin).answer,
        "Content-Type": file.media_type,
        "Cache-Control": resource.cache if resource else "",
        **({"Content-Encoding": "gzip"} if packed else {}),
    }
    if wrong := _differs(answer, expected):
        return attention(f"{site.shown}{path}: {wrong}; {_REMEDY}")
    # What was just replaced may be told in its new version.
    if answer.content() not in (stored, _stored(root, file.path)[0]):
        return attention(f"{site.shown}{path} is not what {root} holds: name this tree's address with --url")
    if "multipart/" in file.media_type and not answer.content().startswith(b"--" + BOUNDARY.encode()):
        return attention(f"{site.shown}{path} doesn't begin with its boundary: {root / file.path} is damaged")
    return None


def _stored(root: Path, path: str) -> tuple[bytes | None, bool]:
    """The bytes of a file of the tree, unpacked, and whether it is packed; None without one.

    Raises:
        Corrupt: if it is damaged.
    """
    packed = root / f"{path}.gz"
    if packed.exists():
        try:
            return gzip.decompress(packed.read_bytes()), True
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise Corrupt(f"{packed} is damaged: run `staticwado verify --repair`") from None
    plain = root / path
    return (plain.read_bytes(), False) if plain.exists() else (None, False)


def _refused(site: Address, answer: _Answer, path: str) -> Finding | None:
    if answer.status == http.client.UNAUTHORIZED:
        return attention(f"{site.shown} asks for a login: name it with --url https://USER:PASSWORD@HOST")
    if answer.status == http.client.FORBIDDEN:
        return attention(f"{site.shown}{path} is forbidden: nginx's workers must be in the tree's group, {_REMEDY}")
    if answer.status != http.client.OK:
        return attention(f"{site.shown}{path} is answered with {answer.status}: {_REMEDY}")
    return None


def _differs(answer: _Answer, expected: Mapping[str, str]) -> str | None:
    """The first header that isn't as it should be, in words."""
    for name, value in expected.items():
        found = answer.headers.get(name.lower())
        if found is None:
            return f"the header {name} is missing and should be {value!r}"
        if _plain(found) != _plain(value):
            return f"the header {name} is {found!r} and should be {value!r}"
    return None


def _plain(value: str) -> str:
    """A header's value without what makes no difference."""
    return re.sub(r'[\s"]', "", value.removesuffix("; charset=utf-8")).lower()


def _ask(site: Address, path: str, accept: str = "*/*") -> _Answer:
    """Ask as a page of the site does.

    Raises:
        Transient: if nothing answers.
    """
    parts = urlsplit(site.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "localhost", parts.port, timeout=_SECONDS)
    headers = {"Accept": accept, "Accept-Encoding": "gzip, deflate, br", "Sec-Fetch-Site": "same-origin"}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return _Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Transient(
            f"nothing answers on {site.shown} ({why}): start the web server, or name it with --url"
        ) from None
    finally:
        connection.close()
