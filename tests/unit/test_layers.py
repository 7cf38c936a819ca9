"""A module imports from its own package or from a lower one; configuration and logging belong to the command line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

NAME = "staticwado_daemon"
PACKAGE = Path(__file__).parents[2] / NAME
LAYERS = (
    "errors",
    "libc",
    "units",
    "dicom",
    "archive",
    "inbound",
    "pipeline",
    "replicate",
    "operate",
    "dimse",
    "web",
    "cli",
)
EDGES = frozenset({"config", "log"})
"""They stand beside the layers: only the command line knows of them."""
WORDS = frozenset({"dicom", "archive"})
"""From where configuration has names that a setting may have; beyond these both edges know of errors only."""

FOUNDATIONS = ("implementation", "statuses", "peers", "patience", "contexts", "tls", "association", "node")
"""Rooms of `dimse` that every service there may use; each imports from those before it."""
SERVICES: dict[str, frozenset[str]] = {
    "verification": frozenset(),
    "query": frozenset(),
    "receiving": frozenset(),
    "sending": frozenset(),
    "retrieve": frozenset({"query", "sending"}),
    "pulling": frozenset({"query"}),
    "commitment": frozenset(),
}
"""Its services, and which others each of them uses."""


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def _layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the layer of each import from our own package, wherever in the module it stands."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == NAME else [module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == NAME and len(parts) > 1 and parts[1] != "__version__":
                yield node.lineno, parts[1]


def _may_import(layer: str, other: str) -> bool:
    if other in {layer, "errors"}:
        return True
    if layer in EDGES or other in EDGES:
        return layer == "cli" or (layer == "config" and other in WORDS)
    return LAYERS.index(other) < LAYERS.index(layer)


def test_every_package_has_its_place() -> None:
    assert {_layer(path) for path in _modules()} <= {*LAYERS, *EDGES}


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_downwards(path: Path) -> None:
    layer = _layer(path)
    upwards = [
        f"line {line}: {layer} imports {other}"
        for line, other in _imports(path.read_text(encoding="utf-8"))
        if not _may_import(layer, other)
    ]
    assert upwards == []


def _rooms(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the room of each import from `dimse`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[:2] == [NAME, "dimse"] and len(parts) > 2:
                yield node.lineno, parts[2]


def _may_use(room: str, other: str) -> bool:
    if room == other:
        return True
    if room in SERVICES:
        return other in SERVICES[room] or other in FOUNDATIONS
    return other in FOUNDATIONS[: FOUNDATIONS.index(room)]


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "dimse").rglob("[!_]*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_services_of_the_network_stand_beside_each_other(path: Path) -> None:
    room = path.relative_to(PACKAGE / "dimse").parts[0].removesuffix(".py")
    others = [
        f"line {line}: {room} imports {other}"
        for line, other in _rooms(path.read_text(encoding="utf-8"))
        if not _may_use(room, other)
    ]
    assert others == []


@pytest.mark.parametrize(
    ("room", "source", "good"),
    [
        ("sending", "from staticwado_daemon.dimse.retrieve.selection import Request", False),
        ("sending", "from staticwado_daemon.dimse import retrieve", False),
        ("retrieve", "import staticwado_daemon.dimse.sending.operations", True),
        ("association", "from staticwado_daemon.dimse.node.server import Node", False),
        ("association", "from staticwado_daemon.dimse import contexts, statuses", True),
    ],
)
def test_the_rule_of_rooms_can_be_broken(room: str, source: str, *, good: bool) -> None:
    assert all(_may_use(room, other) for _, other in _rooms(source)) is good


@pytest.mark.parametrize(
    ("layer", "source", "good"),
    [
        ("dicom", "from staticwado_daemon.archive import layout", False),
        ("dicom", "import staticwado_daemon.archive.layout", False),
        ("archive", "def f():\n    from staticwado_daemon import web", False),
        ("pipeline", "from staticwado_daemon import log", False),
        ("web", "from staticwado_daemon.config import load", False),
        ("config", "from staticwado_daemon.dicom.content_types import ContentType", True),
        ("config", "from staticwado_daemon.pipeline import line", False),
        ("log", "from staticwado_daemon.dicom.uids import UID", False),
        ("cli", "from staticwado_daemon import __version__, config", True),
        ("archive", "from staticwado_daemon.dicom.uids import UID", True),
        ("dicom", "import pydicom", True),
    ],
)
def test_the_rule_can_be_broken(layer: str, source: str, *, good: bool) -> None:
    assert all(_may_import(layer, other) for _, other in _imports(source)) is good
