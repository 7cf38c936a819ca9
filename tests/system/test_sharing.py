"""Web pages of other hosts read the tree where they were let in, and nowhere else: as headers, and in Chromium."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.system import browser as browsers
from tests.system.servers import Server, start_embedded, start_nginx_for
from tests.system.tiny_tree import STUDY, build, instance

FRAME = f"/dicomweb/{instance(1)}/frames/1"
THUMBNAIL = f"/dicomweb/{STUDY}/thumbnail"
ORIGIN = "https://viewer.example"
ASKED = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}

Start = Callable[[str | None], AbstractContextManager[Server]]

# What a script in a page gets to see of an answer; a request with a Range header beyond the simplest needs a preflight.
_READ = """async ([url, headers]) => {
  try {
    const answer = await fetch(url, {headers});
    return [answer.status, (await answer.arrayBuffer()).byteLength, answer.headers.get('etag')];
  } catch (error) { return null; }
}"""
_EMBED = "async url => { try { await fetch(url, {mode: 'no-cors'}); return true; } catch (error) { return false; } }"


@pytest.fixture(params=["nginx", "embedded"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Serves one small tree, each time to other friends."""
    root = tmp_path / "tree"
    build(root)
    if request.param == "embedded":
        return lambda allow_origin: start_embedded(root, allow_origin=allow_origin)
    return lambda allow_origin: start_nginx_for(root, tmp_path / "prefix", allow_origin=allow_origin)


@pytest.mark.parametrize("target", ["/dicomweb/studies", FRAME, "/dicomweb/nothing"])
@pytest.mark.parametrize("allowed", ["*", ORIGIN])
def test_who_is_let_in_may_ask(start: Start, allowed: str, target: str) -> None:
    with start(allowed) as server:
        preflight = server.ask(target, ASKED, "OPTIONS")
        answers = [server.ask(target, ASKED), server.ask(target, ASKED, "DELETE")]
        others = server.ask("/app-config.js", ASKED)
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == allowed
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "Range" in preflight.headers["access-control-allow-headers"]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == allowed, "on errors too"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "access-control-allow-origin" not in others.headers
    assert others.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("target", ["/dicomweb/studies", FRAME, "/dicomweb/nothing", "/app-config.js"])
def test_nobody_is_let_in_by_default(start: Start, target: str) -> None:
    with start(None) as server:
        answers = [server.ask(target, ASKED, method) for method in ("OPTIONS", "GET", "DELETE")]
    assert (answers[0].status, answers[0].body) == (204, b"")
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.browser
def test_a_browser_keeps_pages_of_other_hosts_out(start: Start, chromium: Browser, tmp_path: Path) -> None:
    build(tmp_path / "other")
    with start_embedded(tmp_path / "other") as other, browsers.visit(chromium, other.url) as visitor:
        page = visitor.page
        page.goto(f"{other.url}/app-config.js")
        for allowed, let_in in ((None, False), ("https://viewer.example", False), (other.url, True), ("*", True)):
            with start(allowed) as server:
                for headers in ({}, {"Range": "bytes=0-1,3-4"}):
                    read = page.evaluate(_READ, [server.url + FRAME, headers])
                    assert (read is not None) is let_in, allowed
                    if read:
                        status, length, etag = read
                        assert (status, bool(length), bool(etag)) == (200, True, True)
                # What only is to be shown isn't checked for its origin: it is kept in wherever nobody is let in.
                assert page.evaluate(_EMBED, server.url + THUMBNAIL) is (allowed is not None)
        assert page.evaluate(_READ, [other.url + FRAME, {}]), "a page may always read its own host"
