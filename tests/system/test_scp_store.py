"""The SCP as modalities meet it: dcmtk sends, a witness receives the same, the daemon publishes, somebody looks on."""

import json
import struct
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.inbound import drop
from tests import corpus
from tests.system import dcmtk
from tests.system.nodes import at_work, prepare, published, receiving
from tests.system.programs import staticwado, told
from tests.unit.dicom_bytes import element
from tests.unit.dimse_peer import CT, Peer, Told, associated
from tests.unit.test_dimse_receive import body, data_set, objects, until

_PIECE = 130_000


def test_what_dcmtk_sends_is_received_as_its_own_storescp_receives_it(tmp_path: Path) -> None:
    sendable = {str(each.path): each.path for each in objects() if each.is_taken}
    files = list(corpus.distinct(tmp_path / "sent", sendable).values())
    node = prepare(tmp_path / "node")
    with dcmtk.storescp(tmp_path / "witness") as witness, receiving(node):
        for start in range(0, len(files), 40):
            for port in (witness.port, node.port):
                # What it can't read or propose it passes over, for both of us alike.
                dcmtk.run("storescu", "-R", "-nh", "127.0.0.1", port, *files[start : start + 40], expect=None)
    expected = {body(path) for path in witness.received()}
    assert {body(path) for path in node.drop.glob("*.dcm")} == expected
    assert len(expected) > 0.7 * len(files)


@pytest.mark.parametrize("size", [100 << 20, pytest.param(2 << 30, marks=pytest.mark.soak)])
def test_a_large_object_is_never_in_memory(tmp_path: Path, size: int) -> None:
    node = prepare(tmp_path / "node")
    with receiving(node) as scp, associated(node.port) as peer:
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)
        before = peak(scp.pid)
        send_large(peer, "1.2.4", size)
        assert peak(scp.pid) - before < 16 << 20
    stored = max(node.drop.glob("*.dcm"))
    assert size < stored.stat().st_size < size + 2000


def peak(process: int) -> int:
    """The most memory that a process had, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def send_large(peer: Peer, instance: str, size: int) -> None:
    """Send an object with so many bytes of pixels."""
    head = data_set(instance, 0)[: -len(element(0x7FE10010, "OW"))]
    peer.request(1, CT, instance)
    peer.fragment(1, 0, head + element(0x7FE00010, "OW", length=size))
    piece = b"pixels" * (_PIECE // 6)
    header = struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, 1, 0)
    whole, rest = divmod(size, len(piece))
    for _ in range(whole):
        peer.connection.sendall(header + piece)
    peer.fragment(1, 2, piece[:rest])
    assert peer.told() == Told(0)


def test_the_later_of_two_contents_is_shown(tmp_path: Path) -> None:
    node = prepare(tmp_path / "node")
    (path,) = corpus.ct_study(tmp_path / "sent", instances=1, series=1, size=64).files
    with at_work(node):
        for comment in ("first", "second", "third"):
            image = pydicom.dcmread(path)
            image.ImageComments = comment
            image.save_as(path)
            dcmtk.run("storescu", "127.0.0.1", node.port, path)
        until(lambda: node.status()["receipts"]["superseded"] == 2 and node.status()["idle"])
        instance = str(pydicom.dcmread(path).SOPInstanceUID)
        out = tmp_path / "out"
        staticwado("-c", node.config, "export", instance, "-o", out)
        versions = json.loads(staticwado("-c", node.config, "explain", instance, "--json"))["found"][0]["versions"]
    (exported,) = out.rglob("*.dcm")
    assert [each["sender"] for each in versions] == ["STORESCU to ANY-SCP"] * 3
    assert pydicom.dcmread(exported).ImageComments == "third"


def test_what_the_scp_refused_is_listed_and_can_be_tried_again(tmp_path: Path) -> None:
    node = prepare(tmp_path / "node")
    (path,) = corpus.ct_study(tmp_path / "sent", instances=1, series=1, size=64).files
    instance = str(pydicom.dcmread(path).SOPInstanceUID)
    reason = "SOP Class UID of data set and request differ"
    with at_work(node):
        with associated(node.port, [("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1")]) as peer:
            sent = peer.store("1.2.840.10008.5.1.4.1.1.4", instance, body(path))
            assert sent == Told(0xA900, reason)
        until(lambda: node.status()["rejected"] == 1)
        (kept,) = (node.drop / drop.REJECTED).glob("*.dcm")
        listed = json.loads(told("-c", node.config, "rejected", "list", "--json"))
        assert reason in json.dumps(listed)
        assert kept.name in json.dumps(listed)
        staticwado("-c", node.config, "rejected", "retry", kept)
        published(node, 1)
        assert node.status()["rejected"] == 0
    assert "object_refused" in node.scp_log.read_text()
    assert instance not in node.scp_log.read_text()
