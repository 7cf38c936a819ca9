"""`/healthz` and `/metrics`: for those who look after the machine, and not part of DICOMweb.

`/healthz` is 200 also for a daemon that is degraded. Whoever asks there takes a server out of service or starts it
again, and neither makes room on a disk or mounts a folder; the tree can be read meanwhile. It is 503 if the daemon
doesn't work. To be told of what is degraded, watch the metric.
"""

import orjson
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from staticwado_daemon.archive.routes import COMMON_HEADERS
from staticwado_daemon.operate import health, metrics
from staticwado_daemon.operate.metrics import Watched
from staticwado_daemon.web.static import plain

HEALTH_URL = "/healthz"
METRICS_URL = "/metrics"
URLS = (HEALTH_URL, METRICS_URL)

_METHODS = ("GET", "HEAD")
_HEADERS = {**COMMON_HEADERS, "Cache-Control": "no-store"}


async def answer(path: str, watched: Watched) -> Response:
    """Answer a GET or HEAD request for one of `URLS`."""
    if path == HEALTH_URL:
        return await run_sync(_health, watched)
    body = await run_sync(metrics.exposition, watched)
    return Response(body, headers={**_HEADERS, "Content-Type": metrics.CONTENT_TYPE})


def _health(watched: Watched) -> Response:
    found = health.look(watched.report, watched.root)
    said = {"status": found.status, **({"reasons": found.reasons} if found.reasons else {})}
    return Response(
        orjson.dumps(said),
        503 if found.status == "down" else 200,
        {**_HEADERS, "Content-Type": "application/json"},
    )


def create_app(watched: Watched) -> Starlette:
    """The application that answers `URLS` and nothing else, for a port of its own; it reads no tree."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        request = Request(scope)
        if request.method not in _METHODS:
            response = plain(405, {**_HEADERS, "Allow": ", ".join(_METHODS)})
        elif scope["path"] in URLS:
            response = await answer(scope["path"], watched)
        else:
            response = plain(404, _HEADERS)
        await response(scope, receive, send)

    app = Starlette()
    app.router.default = respond
    return app
