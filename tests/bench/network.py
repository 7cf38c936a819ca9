"""The DICOM network: receiving, being asked and giving back, over loopback and next to others."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from tests import corpus
from tests.bench import latency, receivers
from tests.bench.processes import peak_memory
from tests.bench.receivers import Receiver
from tests.bench.table import Row, at_least, at_most
from tests.system import dcmtk, large, nodes
from tests.system.nodes import Node
from tests.system.servers import Server, start_nginx_for

ALLOWANCE = 1.2
"""How much longer durable reception may take than bare reception and the sync of a file, on one association."""

TOGETHER_RATE = 250
VISIBLE_SECONDS = 2.0
GIVEN_RATE = 150
PROCESS_BYTES = 300e6
_SYNCED = 200
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 600.0


def measure(files: Sequence[Path], rounds: int, frames: int, scratch: Path) -> Iterator[Row]:
    """What CT slices cost that come one by one over the network; then one object of so many frames of 1 MB."""
    scratch.mkdir()
    yield from _receiving(files, rounds, scratch)
    yield from _published(files, scratch / "published")
    yield from _one_large(frames, scratch / "large")


def _receiving(files: Sequence[Path], rounds: int, scratch: Path) -> Iterator[Row]:
    """Reception alone: no daemon takes away what comes."""
    sync = receivers.sync_seconds(files[0].read_bytes(), min(len(files), _SYNCED), scratch / "sync")
    bare, one, four = [], [], []
    for turn in range(rounds):  # in turns, because the machine has better and worse minutes
        with receivers.bare_pynetdicom(scratch / f"bare-{turn}") as receiver:
            bare.append(receivers.send(files, receiver))
        node = nodes.prepare(scratch / f"ours-{turn}")
        with nodes.receiving(node):
            one.append(receivers.send(files, _receiver(node)))
            four.append(receivers.send(files, _receiver(node), 4))
        _expect(2 * len(files), node.drop)
    least = min(bare) / len(files) + sync
    yield Row("pynetdicom's bare receive: instances per second", f"{len(files) / min(bare):.0f}")
    yield Row("one file of that size made durable, ms", f"{sync * 1e3:.2f}")
    yield Row("ours, durable, one association: instances per second", f"{len(files) / min(one):.0f}")
    yield at_most("ours as a multiple of the two together", min(one) / len(files) / least, ALLOWANCE)
    rate = len(files) / min(four)
    yield at_least("ours, durable, four associations: instances per second", rate, TOGETHER_RATE)
    for associations in (1, 4):
        with receivers.storescp(scratch / f"storescp-{associations}") as receiver:
            rate = len(files) / receivers.send(files, receiver, associations)
        yield Row(f"dcmtk's storescp, not durable, {associations} at once: instances per second", f"{rate:.0f}")


def _published(files: Sequence[Path], directory: Path) -> Iterator[Row]:
    """Reception with the daemon at work beside it, until nginx shows it all; and then back again."""
    node = nodes.prepare(directory)
    with nodes.at_work(node), start_nginx_for(node.root, directory / "nginx") as server:
        rate = len(files) / receivers.send(files, _receiver(node))
        seconds = _until_visible(server, len(files))
        yield Row("ours, with the daemon publishing beside it: instances per second", f"{rate:.0f}")
        yield at_most("the last answer → all of them visible through nginx, s", seconds, VISIBLE_SECONDS)
        nodes.published(node, len(files))
        started = time.perf_counter()
        _getscu(node, directory / "got", corpus.uid("ct"))
        rate = len(files) / (time.perf_counter() - started)
        yield at_least("C-GET of the study by dcmtk's getscu: instances per second", rate, GIVEN_RATE)
        _expect(len(files), directory / "got")


def _one_large(frames: int, directory: Path) -> Iterator[Row]:
    """The SCP's memory with an object that is far larger than it may get."""
    node = nodes.prepare(directory)
    slide = large.slide(directory / "slide.dcm", frames)
    name = f"one object of {slide.path.stat().st_size / 1e6:,.0f} MB"
    with nodes.at_work(node) as scp:
        started = time.perf_counter()
        receivers.send([slide.path], _receiver(node))
        rate = slide.path.stat().st_size / 1e6 / (time.perf_counter() - started)
        yield Row(f"{name}: received, MB per second", f"{rate:.0f}")
        yield at_most(f"{name}: peak memory, receiving, MB", peak_memory(scp.pid) / 1e6, PROCESS_BYTES / 1e6, ".0f")
        nodes.published(node, 1)
        started = time.perf_counter()
        _getscu(node, directory / "got", f"{slide.uid}.1")
        rate = slide.path.stat().st_size / 1e6 / (time.perf_counter() - started)
        yield Row(f"{name}: given back by C-GET, MB per second", f"{rate:.0f}")
        yield at_most(f"{name}: peak memory, giving back, MB", peak_memory(scp.pid) / 1e6, PROCESS_BYTES / 1e6, ".0f")
        _expect(1, directory / "got")


def _receiver(node: Node) -> Receiver:
    return Receiver(nodes.TITLE, node.port)


def _until_visible(server: Server, instances: int) -> float:
    """Ask for the study's series until they have so many instances; the seconds that takes."""
    url, started = f"/dicomweb/studies/{corpus.uid('ct')}/series", time.perf_counter()
    while (shown := _shown(server, url)) < instances:
        if time.perf_counter() - started > _PATIENCE_SECONDS:
            raise SystemExit(f"only {shown} of {instances} instances are visible")
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter() - started


def _shown(server: Server, url: str) -> int:
    answer = latency.body(server, url)
    series = orjson.loads(answer) if answer.startswith(b"[") else []
    return sum(each["00201209"]["Value"][0] for each in series)


def _getscu(node: Node, directory: Path, study: str) -> None:
    directory.mkdir()
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    options = ("-S", "+B", "--max-pdu", receivers.PDU, "-aec", nodes.TITLE, "-od", directory)
    dcmtk.run("getscu", *options, *keys, "127.0.0.1", node.port, seconds=_PATIENCE_SECONDS)


def _expect(instances: int, directory: Path) -> None:
    found = sum(path.is_file() for path in directory.iterdir())
    if found != instances:
        raise SystemExit(f"{found} files are in {directory}, not {instances}")
