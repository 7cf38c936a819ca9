"""Giving back: C-GET and C-MOVE of one study over loopback, as it came and converted."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests import corpus
from tests.bench import receivers
from tests.bench.table import Row, at_least
from tests.system import dcmtk, nodes
from tests.system.nodes import Node
from tests.system.programs import staticwado
from tests.system.servers import free_port

GIVEN_RATE = 150
_DEFAULT_PDU = 16_384
_PATIENCE_SECONDS = 600.0


def measure(files: Sequence[Path], scratch: Path) -> Iterator[Row]:
    """The rates at which CT slices, stored as HTJ2K, are given back: dcmtk and pynetdicom take them.

    Args:
        files: the slices, of one study.
        scratch: a directory that isn't there yet.
    """
    node = nodes.prepare(scratch, {"WITNESS": (port := free_port())})
    staticwado("-c", node.config, "create", *files)
    count = len(files)
    with nodes.receiving(node):
        for pdu in (_DEFAULT_PDU, receivers.PDU):
            rate = count / _seconds(lambda pdu=pdu: _getscu(node, scratch / f"got-{pdu}", pdu))
            yield at_least(f"C-GET by dcmtk's getscu, PDUs of {pdu:,} bytes: instances per second", rate, GIVEN_RATE)
        rate = count / _seconds(lambda: _getscu(node, scratch / "implicit", receivers.PDU, "+xi"))
        yield Row("C-GET in Implicit VR, which converts them: instances per second", f"{rate:.0f}")
        rate = count / _seconds(lambda: _pynetdicom(node, scratch / "pynetdicom"))
        yield Row("C-GET by pynetdicom's getscu: instances per second", f"{rate:.0f}")
        with dcmtk.storescp(scratch / "moved", "--max-pdu", str(receivers.PDU), port=port):
            rate = count / _seconds(lambda: _movescu(node))
        yield Row("C-MOVE to dcmtk's storescp: instances per second", f"{rate:.0f}")
    for directory in ("implicit", "pynetdicom", "moved"):
        _expect(count, scratch / directory)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _keys() -> Sequence[str]:
    return ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={corpus.uid('ct')}")


def _getscu(node: Node, directory: Path, pdu: int, *options: str) -> None:
    directory.mkdir()
    own = ("-S", "+B", "--max-pdu", pdu, "-aec", nodes.TITLE, "-od", directory, *options)
    dcmtk.run("getscu", *own, *_keys(), "127.0.0.1", node.port, seconds=_PATIENCE_SECONDS)


def _pynetdicom(node: Node, directory: Path) -> None:
    directory.mkdir()
    own = ("-S", "-aec", nodes.TITLE, "-od", str(directory), *_keys())
    command = [sys.executable, "-m", "pynetdicom", "getscu", "127.0.0.1", str(node.port), *own]
    subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE_SECONDS)


def _movescu(node: Node) -> None:
    own = ("-S", "-aec", nodes.TITLE, "-aem", "WITNESS", *_keys())
    dcmtk.run("movescu", *own, "127.0.0.1", node.port, seconds=_PATIENCE_SECONDS)


def _expect(instances: int, directory: Path) -> None:
    found = sum(path.is_file() for path in directory.iterdir())
    if found != instances:
        raise SystemExit(f"{found} files are in {directory}, not {instances}")
