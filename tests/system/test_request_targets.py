"""Request targets that browsers don't send and HTTP allows."""

from pathlib import Path

import pytest

from tests.system.tiny_tree import instance, serve_both

FRAME = f"/dicomweb/{instance(1)}/frames/1"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"http://localhost{FRAME}", 200),
        (f"HTTP://localhost:8080{FRAME}", 200),
        ("http://localhost/dicomweb/studies?limit=1", 200),
        ("http://localhost/dicomweb/../etc/passwd", 400),
        ("http://localhost/studies", 404),
        ("http://localhost", 404),
        ("dicomweb/studies", 400),
        ("http:%2f%2flocalhost/dicomweb/studies", 400),
        ("*", 400),
        (f"{FRAME}?" + "x" * 4000, 200),
    ],
)
def test_both_servers_understand_them_alike(tmp_path: Path, target: str, status: int) -> None:
    with serve_both(tmp_path, viewer=False) as site:
        answers = [server.ask(target) for server in (site.nginx, site.embedded)]
    assert [answer.status for answer in answers] == [status, status]
    assert answers[0].body == answers[1].body or status >= 400
