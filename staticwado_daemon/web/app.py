"""The embedded server: the same answers as nginx with the generated configuration, from the same table.

For whoever has no nginx at hand. It reads files and knows nothing of how they are made.
"""

import re
import socket
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from staticwado_daemon.archive import routes
from staticwado_daemon.archive.sharing import Sharing
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.operate.metrics import Watched
from staticwado_daemon.web import health
from staticwado_daemon.web import ohif as viewer
from staticwado_daemon.web.connection import ASKING_SECONDS, Connection
from staticwado_daemon.web.static import Offer, answer, plain

_REFUSED_PATH = re.compile(rf"^(?!/|https?://)|{routes.REFUSED_PATH}|%(?![0-9a-f]{{2}})", re.IGNORECASE)
_AUTHORITY = re.compile("^https?://[^/]*", re.IGNORECASE)
"""What a request target may begin with, and every server must read over (RFC 9112 section 3.2.2)."""

_GRACE_SECONDS = 2
_BACKLOG = 1024


class Site:
    """The ASGI application of a tree and, where `ohif` is named, of the viewer."""

    def __init__(self, root: Path, ohif: Path | None, allow_origin: str | None, watched: Watched | None) -> None:
        self._root = str(root.absolute())
        self._sharing = Sharing.with_origin(allow_origin)
        self._ohif = str(ohif.absolute()) if ohif else None
        self._watched = watched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        response = await self._respond(Request(scope))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = re.sub("/{2,}", "/", _AUTHORITY.sub("", request.scope["path"]))
        in_tree = path == routes.PREFIX or path.startswith(f"{routes.PREFIX}/")
        headers = {**routes.COMMON_HEADERS, **(self._sharing.answer if in_tree else {})}
        if request.method not in routes.METHODS:
            return plain(405, {**headers, "Allow": ", ".join(routes.METHODS)})
        if _REFUSED_PATH.search(request.scope["raw_path"].decode("ascii", "replace")):
            return plain(400, headers)
        if request.method == "OPTIONS":
            return plain(204, {**headers, **self._sharing.preflight})
        if path == viewer.APP_CONFIG_URL:
            return Response(
                viewer.APP_CONFIG,
                headers={**headers, "Cache-Control": viewer.CACHE_NAMED, "Content-Type": viewer.APP_CONFIG_TYPE},
            )
        if in_tree:
            return await self._dicomweb(request, path, headers)
        if self._watched and path in health.URLS:
            return await health.answer(path, self._watched)
        return await self._viewer(request, path, headers)

    async def _dicomweb(self, request: Request, path: str, headers: dict[str, str]) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        match = routes.find(path, query, request.headers.get("accept", ""))
        if match.resource is None:
            return plain(404, headers)
        offer = Offer(
            files=match.files,
            gzip="always" if match.resource.gzip else "never",
            ranges=match.resource.ranges,
            missing=match.missing,
            headers={**headers, **match.resource.headers},
            good_headers={"Cache-Control": match.resource.cache},
        )
        return await answer(request, self._root, offer)

    async def _viewer(self, request: Request, path: str, headers: dict[str, str]) -> Response:
        if self._ohif is None or re.search(viewer.HIDDEN, path):
            return plain(404, headers)
        if not re.search(viewer.HAS_EXTENSION, path):
            path = "/index.html"
        offer = Offer(
            files=(routes.File(path.lstrip("/"), viewer.media_type(path)),),
            gzip="accepted",
            headers={**headers, "Vary": "Accept-Encoding"},
            good_headers={"Cache-Control": viewer.cache_control(path)},
        )
        return await answer(request, self._ohif, offer)


def create_app(
    root: Path, ohif: Path | None = None, allow_origin: str | None = None, watched: Watched | None = None
) -> Starlette:
    """The application that serves the tree in `root` below /dicomweb and the viewer's files in `ohif` on /.

    Neither has to exist yet. Web pages of `allow_origin` may read the tree as well, see `archive.sharing`. With
    `watched` it also answers `health.URLS`.

    Raises:
        ConfigError: if `allow_origin` isn't an origin.
    """
    app = Starlette()
    app.router.default = Site(root, ohif, allow_origin, watched)
    return app


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one.

    Raises:
        ConfigError: if the address can't be had.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # With its protocol said: asyncio switches Nagle's delay (40 ms an answer) off for such sockets only.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener:
            listener.close()
        raise ConfigError(f"can't listen on {host}:{port}: {error.strerror}") from error
    except UnicodeError as error:
        raise ConfigError(f"can't listen on {host}:{port}: no host is called so") from error
    return listener


def serve_on(listener: socket.socket, app: Starlette) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT."""
    server(app).run(sockets=[listener])


def server(app: Starlette) -> uvicorn.Server:
    """Make the server, which `serve_on` runs."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            timeout_keep_alive=int(ASKING_SECONDS),
            log_config=None,
            log_level="error",  # its warnings are about clients, who would fill the log at will
            access_log=False,  # it would have the query, which may hold a patient's name
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
