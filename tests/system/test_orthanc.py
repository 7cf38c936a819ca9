"""Orthanc as the other side: it sends, asks, fetches and wants commitment, and we send to it and fetch from it.

Orthanc keeps a file that it is handed over REST as it is, but encodes data sets anew when it sends them. What it puts
on the wire is written down, bit for bit, by dcmtk's storescp: all that went there and back is compared with that.
"""

import io
import time
import tomllib
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests import corpus
from tests.fuzz.seeds import REFUSED
from tests.system import dcmtk, nodes
from tests.system.nodes import Node
from tests.system.orthanc import Orthanc, orthanc
from tests.system.programs import staticwado

MATERIAL = (
    "pydicom/charset_files/chrFren.dcm",
    "pydicom/charset_files/chrGerm.dcm",
    "pydicom/charset_files/chrGreek.dcm",
    "pydicom/charset_files/chrH31.dcm",
    "pydicom/charset_files/chrH32.dcm",
    "pydicom/charset_files/chrJapMulti.dcm",
    "pydicom/charset_files/chrX1.dcm",
    "pydicom/test_files/693_J2KI.dcm",
    "pydicom/test_files/CT_small.dcm",
    "pydicom/test_files/JPEG-lossy.dcm",
    "pydicom/test_files/SC_rgb_jpeg_gdcm.dcm",
    "pydicom/test_files/MR_small.dcm",
    "pydicom/test_files/MR_small_bigendian.dcm",
    "pydicom/test_files/MR_small_implicit.dcm",
    "pydicom/test_files/MR_small_jp2klossless.dcm",
    "pydicom/test_files/MR_small_jpeg_ls_lossless.dcm",
    "pydicom/test_files/MR_small_RLE.dcm",
    "pydicom/test_files/SC_jpeg_no_color_transform.dcm",
    "pydicom/test_files/dicomdirtests/77654033/CR1/6154",
    "pydicom/test_files/dicomdirtests/77654033/CR2/6247",
    "pydicom/test_files/dicomdirtests/77654033/CT2/17106",
    "pydicom/test_files/dicomdirtests/77654033/CT2/17136",
    "pydicom/test_files/image_dfl.dcm",
    "pydicom/test_files/liver_1frame.dcm",
    "pydicom/test_files/reportsi.dcm",
    "pydicom/test_files/rtplan.dcm",
    "pydicom/test_files/waveform_ecg.dcm",
)
"""Names in several character sets, private attributes, the transfer syntaxes that Orthanc passes on, and objects
of which two series or two instances belong together."""

NOT_ORTHANCS = {
    "pydicom/test_files/SC_rgb_jpeg.dcm",
    "pydicom/test_files/rtdose_rle.dcm",
    "pydicom/test_files/rtdose_rle_1frame.dcm",
    "pydicom-data/explicit_VR-UN.dcm",
}
"""Test files of which it can't read the first, and finds no presentation context to send the others with."""

_STUDY = ("StudyInstanceUID",)
_SERIES = (*_STUDY, "SeriesInstanceUID")
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Orthanc and a node that know each other, and what they have in common.

    Attributes:
        files: what was handed to Orthanc.
        wire: SOP Instance UID to transfer syntax and data set, as Orthanc sends it.
    """

    peer: Orthanc
    node: Node
    files: Sequence[Path]
    wire: Mapping[str, tuple[str, bytes]]

    def fill(self) -> None:
        """Have Orthanc hold the files, and nothing else."""
        self.peer.empty()
        for path in self.files:
            self.peer.upload(path)

    def values(self, keyword: str) -> set[str]:
        """All values of an attribute among the files."""
        return {str(each[keyword].value) for each in self.headers()}

    def headers(self) -> list[pydicom.Dataset]:
        """The files' attributes without pixels."""
        return [pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in self.files]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Orthanc has sent everything to the node, which has published it."""
    directory = tmp_path_factory.mktemp("orthanc")
    known = corpus.test_files()
    files = list(corpus.distinct(directory / "files", {name: known[name] for name in MATERIAL}).values())
    with started(directory, files) as stage:
        yield stage


@contextmanager
def started(directory: Path, files: Sequence[Path]) -> Iterator[Stage]:
    """Run Orthanc and a node; Orthanc sends the files to dcmtk's storescp and to the node."""
    with orthanc(directory / "orthanc") as peer, dcmtk.storescp(directory / "wire") as witness:
        node = nodes.prepare(directory / "node", {peer.title: peer.port})
        peer.knows("witness", "WITNESS", witness.port)
        peer.knows("node", nodes.TITLE, node.port)
        sent = [peer.upload(path) for path in files]
        assert len(set(sent)) == len(files)
        peer.ask("POST", "/modalities/witness/store", sent)
        wire = dict(data_set(path.read_bytes()) for path in witness.received())
        assert len(wire) == len(files)
        with nodes.at_work(node):
            peer.ask("POST", "/modalities/node/store", sent)
            nodes.published(node, len(files))
            yield Stage(peer, node, files, wire)


def data_set(file: bytes) -> tuple[str, tuple[str, bytes]]:
    """SOP Instance UID, transfer syntax and data set of a file, the data set as the bytes that it is."""
    meta = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True, specific_tags=[]).file_meta
    assert file[132:138] == b"\x02\0\0\0UL"  # File Meta Information Group Length (PS3.10 7.1)
    start = 144 + int.from_bytes(file[140:144], "little")
    return str(meta.MediaStorageSOPInstanceUID), (str(meta.TransferSyntaxUID), file[start:])


def holds(stage: Stage, uids: Collection[str]) -> bool:
    """Whether Orthanc holds just these instances, as it once sent them; what was deflated it deflates anew."""
    held = dict(map(data_set, stage.peer.instances().values()))
    return _inflated(held) == _inflated({uid: stage.wire[uid] for uid in uids})


def _inflated(data_sets: Mapping[str, tuple[str, bytes]]) -> dict[str, tuple[str, bytes]]:
    return {
        uid: (syntax, zlib.decompress(data, -zlib.MAX_WBITS) if syntax == DeflatedExplicitVRLittleEndian else data)
        for uid, (syntax, data) in data_sets.items()
    }


def kept(node: Node, directory: Path) -> dict[str, tuple[str, bytes]]:
    """What a node has published, as data sets: its originals."""
    studies = sorted(path.name for path in (node.root / "studies").iterdir() if path.is_dir())
    staticwado("-c", node.config, "export", *studies, "-o", directory)
    return dict(data_set(path.read_bytes()) for path in directory.rglob("*.dcm"))


def test_what_orthanc_sends_is_kept_bit_for_bit(stage: Stage, tmp_path: Path) -> None:
    assert kept(stage.node, tmp_path / "out") == stage.wire
    assert len({syntax for syntax, _ in stage.wire.values()}) >= 9


def test_orthanc_finds_everything_at_every_level(stage: Stage) -> None:
    """Patients without an identifier aren't one patient: their number is ours to say."""
    assert set(_found(stage, "Patient", "PatientID", {})) == stage.values("PatientID")
    found: list[str] = _found(stage, "Study", "StudyInstanceUID", {})
    assert sorted(found) == sorted(stage.values("StudyInstanceUID"))
    headers = stage.headers()
    for level, key, unique in (("Series", "SeriesInstanceUID", _STUDY), ("Instance", "SOPInstanceUID", _SERIES)):
        wanted = {tuple(str(each[name].value) for name in (*unique, key)) for each in headers}
        above = {each[:-1] for each in wanted}
        got = [
            (*uids, uid) for uids in above for uid in _found(stage, level, key, dict(zip(unique, uids, strict=True)))
        ]
        assert sorted(got) == sorted(wanted)


def _found(stage: Stage, level: str, key: str, above: Mapping[str, str]) -> list[str]:
    return [answer[key] for answer in stage.peer.answers(stage.peer.query("node", level, {**above, key: ""}))]


@pytest.mark.parametrize(
    ("key", "wanted", "expected"),
    [
        ("PatientName", "Buc^J*", {"Buc^Jérôme"}),
        ("PatientName", "buc^jérôme", {"Buc^Jérôme"}),
        ("PatientName", "*R?diger", {"Äneas^Rüdiger"}),
        ("PatientName", "Yamada^Tarou*", {"Yamada^Tarou=山田^太郎=やまだ^たろう"}),
        ("PatientName", "*=山田^太郎=*", {"Yamada^Tarou=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"}),
        ("PatientName", "Διονυσιος", {"Διονυσιος"}),
        ("PatientName", "Nobody*", set()),
    ],
)
def test_orthanc_finds_by_name(stage: Stage, key: str, wanted: str, expected: set[str]) -> None:
    answers = stage.peer.answers(stage.peer.query("node", "Study", {key: wanted}))
    assert {answer[key] for answer in answers} == expected


@pytest.mark.parametrize(
    ("level", "keys"), [("Patient", ("PatientID",)), ("Study", ()), ("Series", _STUDY), ("Instance", _SERIES)]
)
def test_orthanc_moves_from_us(stage: Stage, level: str, keys: Sequence[str]) -> None:
    """What arrives is what Orthanc once sent; of a patient without identifier nothing can be asked for."""
    stage.peer.empty()
    headers = [each for each in stage.headers() if all(each[key].value for key in keys)]
    for values in {tuple(str(each[key].value) for key in keys) for each in headers}:
        query = stage.peer.query("node", level, dict(zip(keys, values, strict=True)))
        stage.peer.ask("POST", f"{query}/retrieve", {"TargetAet": stage.peer.title, "Synchronous": True})
    assert holds(stage, {str(each.SOPInstanceUID) for each in headers})


def test_orthanc_has_storage_committed(stage: Stage) -> None:
    instances = [(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in stage.headers()]
    missing = (instances[0][0], "2.25.1")
    asked = [_asked_to_commit(stage.peer, each) for each in (instances, [*instances[:3], missing])]
    whole, part = (_commitment(stage.peer, path) for path in asked)
    assert whole["Status"] == "Success"
    assert {each["SOPInstanceUID"] for each in whole["Success"]} == {uid for _, uid in instances}
    assert part["Status"] == "Failure"
    assert [each["SOPInstanceUID"] for each in part["Failures"]] == [missing[1]]
    assert len(part["Success"]) == 3


def _asked_to_commit(peer: Orthanc, instances: Sequence[tuple[str, str]]) -> str:
    return str(peer.ask("POST", "/modalities/node/storage-commitment", {"DicomInstances": instances})["Path"])


def _commitment(peer: Orthanc, path: str) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (report := peer.ask("GET", path))["Status"] == "Pending":
        assert time.monotonic() < deadline, "no report on storage commitment came"
        time.sleep(0.05)
    return report


def test_echo(stage: Stage) -> None:
    staticwado("-c", stage.node.config, "echo", stage.peer.title)


def test_what_we_send_is_what_orthanc_sent(stage: Stage) -> None:
    stage.peer.empty()
    staticwado("-c", stage.node.config, "send", *sorted(stage.values("StudyInstanceUID")), "--to", stage.peer.title)
    assert holds(stage, stage.wire)


@pytest.mark.parametrize("service", ["move", "get"])
def test_what_we_pull_is_what_orthanc_sends(stage: Stage, tmp_path: Path, service: str) -> None:
    stage.fill()
    fresh = nodes.prepare(tmp_path / "fresh", {stage.peer.title: stage.peer.port})
    stage.peer.knows("fresh", nodes.TITLE, fresh.port)
    with nodes.at_work(fresh):
        staticwado("-c", fresh.config, "pull", stage.peer.title, "--patient-name", "*", f"--{service}")
        nodes.published(fresh, len(stage.files))
    assert kept(fresh, tmp_path / "out") == stage.wire


@pytest.mark.soak
def test_all_test_data_goes_there_and_back(tmp_path: Path) -> None:
    refused = tomllib.loads(REFUSED.read_text(encoding="utf-8"))["rejected"].keys() | NOT_ORTHANCS
    files = {name: path for name, path in corpus.instances().items() if name not in refused}
    with started(tmp_path, list(corpus.distinct(tmp_path / "files", files).values())) as stage:
        assert kept(stage.node, tmp_path / "out") == stage.wire
        stage.peer.empty()
        staticwado("-c", stage.node.config, "send", *sorted(stage.values("StudyInstanceUID")), "--to", stage.peer.title)
        assert holds(stage, stage.wire)
