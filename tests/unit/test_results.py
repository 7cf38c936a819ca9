"""What a worker may answer, and everything else that one which was taken over might."""

import itertools
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from staticwado_daemon.archive import layout, record, summary
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import results
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules, ingest_batch
from staticwado_daemon.pipeline.staged import Staged, Unfinished
from tests import corpus
from tests.records import make_dataset

SOURCE = Source(Path("/in/1.dcm"), Stamp(1, 2, 3, 4), "delete", "request", final=True, tries=1)
TASK = Path("/tree/.staticwado/staging/task")
DIGEST = "0123456789abcdef" * 4
UIDS = ("1.2", "1.2.3", "1.2.3.4")

GOOD: dict[str, Any] = {
    "kind": "staged",
    "identity": UIDS,
    "content": DIGEST,
    "source": DIGEST,
    "source_transfer_syntax": "1.2.840.10008.1.2.1",
    "blobs": [["frames/1.mht", 5, DIGEST], [layout.bulk_file(DIGEST, gzipped=True), 7, DIGEST]],
    "source_attributes": b'{"00083002":null,"00281050":{"vr":"DS"}}',
    "dataset": make_dataset(*UIDS),
    "remainder": b"rest",
    "warnings": ["odd"],
}


def _answer(**forged: Any) -> bytes:
    return msgspec.msgpack.encode([list({**GOOD, **forged}.values())])


def _unpack(answer: bytes) -> results.Result:
    (result,) = results.unpack(answer, [SOURCE], TASK)
    return result


def _dataset(**forged: Any) -> bytes:
    return orjson.dumps({**orjson.loads(GOOD["dataset"]), **forged})


def _nested(levels: int) -> bytes:
    """A sequence in a sequence, and so on."""
    deep = b'{"00081110":{"vr":"SQ","Value":[' * levels + b"{}" + b"]}}" * levels
    return GOOD["dataset"][:-1] + b',"00081140":{"vr":"SQ","Value":[' + deep + b"]}}"


def test_what_a_worker_made_arrives_as_it_was(tmp_path: Path) -> None:
    study = corpus.ct_study(tmp_path / "in", instances=2, series=1, size=32)
    sources = [Source(path, Stamp.of(path.lstat())) for path in study.files]
    (tmp_path / "root").mkdir()
    made = ingest_batch(sources, tmp_path / "root" / "task", Rules(Images(Choices("none")), Limits()))
    assert {type(each) for each in made} == {Staged}
    assert results.unpack(results.pack(made), sources, tmp_path / "root" / "task") == made


@pytest.mark.parametrize(
    "result",
    [
        Receipt(SOURCE.path, SOURCE.stamp, "rejected", "no UID"),
        Receipt(SOURCE.path, SOURCE.stamp, "ignored", "a DICOMDIR"),
        Unfinished("cut off", incomplete=True),
        Unfinished("disk full", incomplete=False, refused=True),
    ],
)
def test_so_does_what_it_could_not_make(result: results.Result) -> None:
    assert _unpack(results.pack([result])) == result


def test_source_place_and_revision_are_not_the_worker_s_to_say() -> None:
    result = _unpack(_answer())
    assert isinstance(result, Staged)
    assert (result.source, result.directory, result.record.revision) == (SOURCE, TASK / "0", 0)
    assert result.bulk == (GOOD["blobs"][1][0],)
    assert result.record.remainder[1] == len(b"rest")


@pytest.mark.parametrize("outcome", ["published", "duplicate", "superseded"])
def test_no_worker_can_say_that_a_file_is_stored_so_that_it_would_be_deleted(outcome: Any) -> None:
    with pytest.raises(ValueError, match="no worker"):
        results.pack([Receipt(SOURCE.path, SOURCE.stamp, outcome)])
    with pytest.raises(Corrupt):
        _unpack(msgspec.msgpack.encode([["refused", outcome, "stored, believe me"]]))


@pytest.mark.parametrize(("after", "taken"), [("keep", True), ("delete", False)])
def test_what_could_not_be_given_back_is_not_stored_of_a_source_that_will_be_gone(after: Any, taken: bool) -> None:
    try:
        (result,) = results.unpack(_answer(remainder=b""), [replace(SOURCE, after_ingest=after)], TASK)
    except Corrupt:
        result = None
    assert isinstance(result, Staged) == taken


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo owned",)


NO_ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "junk": b"junk",
    "a pickle": pickle.dumps([_Evil()]),
    "null": msgspec.msgpack.encode(None),
    "no row": msgspec.msgpack.encode([]),
    "two rows": msgspec.msgpack.encode([["refused", "ignored", "x"]] * 2),
    "an unknown row": msgspec.msgpack.encode([["published", "x"]]),
    "an empty row": msgspec.msgpack.encode([[]]),
    "a row too short": msgspec.msgpack.encode([["refused", "ignored"]]),
    "a row too long": msgspec.msgpack.encode([["refused", "ignored", "x", "/etc/passwd"]]),
    "an outcome of its own": msgspec.msgpack.encode([["refused", "whatever", "x"]]),
    "no reason": msgspec.msgpack.encode([["refused", "rejected", 123]]),
    "a reason without end": msgspec.msgpack.encode([["refused", "rejected", "x" * 100_000]]),
    "no truth": msgspec.msgpack.encode([["unfinished", "x", 1, False]]),
    "more rows than bytes": b"\xdd\xff\xff\xff\xff",
    "nested rows": b"\x91" * 100_000,
    "no UTF-8": b"\x91\x93\xa7refused\xa7ignored\xa3\xed\xa0\x80",
}


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_what_is_no_answer_is_none(kind: str) -> None:
    with pytest.raises(Corrupt):
        _unpack(NO_ANSWERS[kind])


FORGERIES: dict[str, dict[str, Any]] = {
    "a study above the root": {"identity": ("../../..", "1.2.3", "1.2.3.4")},
    "a series beside the root": {"identity": ("1.2", "x/../..", "1.2.3.4")},
    "no instance": {"identity": ("1.2", "1.2.3", "")},
    "two UIDs": {"identity": ("1.2", "1.2.3")},
    "another instance's data set": {"identity": ("1.2", "1.2.3", "1.2.3.5")},
    "a content that is a path": {"content": "../../../etc/x"},
    "a content with a line's end": {"content": DIGEST + "\n"},
    "a content in capitals": {"content": DIGEST.upper()},
    "a source that is a path": {"source": "/etc/passwd"},
    "a source that is short": {"source": DIGEST[:-1]},
    "a transfer syntax that is none": {"source_transfer_syntax": 4},
    "a blob above": {"blobs": [["../../index.json.gz", 1, DIGEST]]},
    "a blob further above": {"blobs": [["frames/../../../x", 1, DIGEST]]},
    "a blob elsewhere": {"blobs": [["/etc/passwd", 1, DIGEST]]},
    "a blob without a name": {"blobs": [["", 1, DIGEST]]},
    "a blob with a line's end": {"blobs": [["thumbnail\n", 1, DIGEST]]},
    "a frame 0": {"blobs": [["frames/0.mht", 1, DIGEST]]},
    "a frame that is no number": {"blobs": [["frames/x.mht", 1, DIGEST]]},
    "a frame of endless number": {"blobs": [[f"frames/{'9' * 5000}.mht", 1, DIGEST]]},
    "bulk data of no digest": {"blobs": [["bulkdata/../../x", 1, DIGEST]]},
    "bulk data above": {"blobs": [[f"bulkdata/{'.' * 3}/../{'a' * 59}", 1, DIGEST]]},
    "a blob of negative length": {"blobs": [["thumbnail", -1, DIGEST]]},
    "a blob of no length": {"blobs": [["thumbnail", 1.5, DIGEST]]},
    "a blob with a path for a digest": {"blobs": [["thumbnail", 1, "../x"]]},
    "a remainder that isn't bytes": {"remainder": 4},
    "warnings that aren't text": {"warnings": [4]},
    "a data set that is none": {"dataset": b"garbage"},
    "a data set that is cut": {"dataset": GOOD["dataset"][:-1]},
    "two data sets": {"dataset": GOOD["dataset"] + b",{}"},
    "a list for a data set": {"dataset": b"[]"},
    "a data set that isn't UTF-8": {"dataset": _dataset()[:-1] + b',"00100010":{"vr":"PN","Value":["\xff"]}}'},
    "half a character": {"dataset": _dataset()[:-1] + b',"00100010":{"vr":"LO","Value":["\\ud800"]}}'},
    "a data set of two lines": {"dataset": GOOD["dataset"].replace(b",", b",\n", 1)},
    "an attribute that is a number": {"dataset": _dataset(**{"00080060": 4})},
    "an attribute that is null": {"dataset": _dataset(**{"00080060": None})},
    "values that are an object": {"dataset": _dataset(**{"00080020": {"vr": "DA", "Value": {"0": "x"}}})},
    "values that are a number": {"dataset": _dataset(**{"00080020": {"vr": "DA", "Value": 4}})},
    "more levels than can be written": {"dataset": _nested(100)},
    "more levels than can be read": {"dataset": _nested(10_000)},
    "a data set without UIDs": {"dataset": b"{}"},
    "a UID without a value": {"dataset": _dataset(**{"0020000D": {"vr": "UI", "Value": []}})},
    "source attributes that are none": {"source_attributes": b"garbage"},
    "a list for source attributes": {"source_attributes": b"[]"},
    "source attributes of two lines": {"source_attributes": b'{"00083002":\nnull}'},
    "a data set among source attributes": {"source_attributes": b'{"00083002":null,"dataset":{}}'},
    "one that shows when written again": {"source_attributes": b'{"00083002":null, "dataset" :{}}'},
    "one in another spelling": {"source_attributes": b'{"00083002":null,"data\\u0073et":{}}'},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_passes(forgery: str) -> None:
    with pytest.raises(Corrupt):
        _unpack(_answer(**FORGERIES[forgery]))


ODD_BUT_GOOD: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no blobs": {"blobs": []},
    "a video": {"blobs": [["rendered/index.mp4", 1 << 40, DIGEST]]},
    "every other kind of file": {"blobs": [["index.mht.gz", 0, DIGEST], ["thumbnail", 1, DIGEST]]},
    "as deep as sequences may be": {"dataset": _nested(64)},
    "values of every kind": {"dataset": _dataset(**{"00080020": {"vr": "DA", "Value": [None, 1, "x", {"a": [1]}]}})},
    "an attribute of no kind": {"dataset": _dataset(**{"": {}})},
    "a number beyond all numbers": {"dataset": _dataset()[:-1] + b',"00200013":{"vr":"IS","Value":[1e308]}}'},
    "a data set that names itself": {"dataset": _dataset(dataset={"vr": "LO", "Value": [',"dataset":']})},
}


@pytest.mark.parametrize("kind", ODD_BUT_GOOD)
def test_what_passes_can_be_recorded_listed_and_read_back(kind: str) -> None:
    result = _unpack(_answer(**ODD_BUT_GOOD[kind]))
    assert isinstance(result, Staged)
    versions = {replace(result.record, revision=revision) for revision in (1, 2)}
    _, data = record.to_file(versions)
    assert set(record.from_file(data)) == versions
    index = StudiesIndex()
    series = summary.Series.of(result.record.identity.series, [summary.entry(result.record)])
    index.put(result.record.identity.study, summary.study_query([series]))
    assert len(StudiesIndex.from_file(index.to_file())) == 1


def test_an_answer_with_any_byte_wrong_is_none_or_harmless() -> None:
    whole = _answer()
    for place, byte in itertools.product(range(len(whole)), (0x00, 0x7F, 0x90, 0xC1, 0xFF)):
        try:
            result = _unpack(whole[:place] + bytes([byte]) + whole[place + 1 :])
        except Corrupt:
            continue
        assert isinstance(result, Staged)
        _, data = record.to_file([result.record])
        assert list(record.from_file(data)) == [result.record]
        assert layout.instance_dir(result.record.identity) == "studies/1.2/series/1.2.3/instances/1.2.3.4"
