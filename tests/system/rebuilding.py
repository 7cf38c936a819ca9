"""A study that is rebuilt again and again, and readers who know what each answer may say.

State `k` of the study is reached by the k-th rebuild. Most rebuilds replace the first instance by one that says `k` in
its attributes and its first pixel; each tenth adds an instance instead, and another study.
"""

import copy
import functools
import hashlib
import http.client
import json
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from staticwado_daemon import config
from staticwado_daemon.archive import layout
from staticwado_daemon.cli.assembly import open_line
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.line import Line
from tests.corpus import ct_study, uid
from tests.system.programs import write_config
from tests.system.servers import Server

FIRST_INSTANCES = 3
ADDING = 10
"""Each rebuild with a multiple of this number adds, and replaces nothing."""

State = tuple[int, ...]
"""What an answer tells: numbers that never become smaller."""


class Study:
    """The study, and the line by which it is rebuilt."""

    def __init__(self, directory: Path, line: Line, root: Path) -> None:
        self.root = root
        self.begun = self.done = 0
        self._directory = directory
        self._line = line
        files = ct_study(directory / "originals", instances=FIRST_INSTANCES, series=1, size=32).files
        self._image = pydicom.dcmread(files[0])
        self._image.AcquisitionNumber = 0
        self.identity = Identity(
            *(UID(str(self._image[word + "InstanceUID"].value)) for word in ("Study", "Series", "SOP"))
        )
        self._ingest(*files[1:], self._version(0))

    def rebuild(self) -> None:
        """Reach the next state; when this returns, all of the study says so."""
        self.begun += 1
        if self.begun % ADDING:
            self._ingest(self._version(self.begun))
        else:
            self._ingest(self._addition(self.begun), self._other_study(self.begun))
        self.done = self.begun

    def _version(self, number: int) -> Path:
        image = copy.deepcopy(self._image)
        image.AcquisitionNumber = number
        image.StudyDescription = image.SeriesDescription = f"version {number}"
        image.PixelData = struct.pack("<h", number) + image.PixelData[2:]
        return self._save(image, f"version-{number}")

    def _addition(self, number: int) -> Path:
        image = copy.deepcopy(self._image)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid("addition", number)
        image.InstanceNumber = 1000 + number
        return self._save(image, f"addition-{number}")

    def _other_study(self, number: int) -> Path:
        image = copy.deepcopy(self._image)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid("other instance", number)
        image.StudyInstanceUID, image.SeriesInstanceUID = uid("other study", number), uid("other series", number)
        return self._save(image, f"other-{number}")

    def _save(self, image: pydicom.FileDataset, name: str) -> Path:
        path = self._directory / f"{name}.dcm"
        image.save_as(path, enforce_file_format=True)
        return path

    def _ingest(self, *files: Path) -> None:
        sources = [each for each in map(look, files) if isinstance(each, Source)]
        assert len(sources) == len(files)
        self._line.submit(sources)
        while self._line.backlog:
            for finished in self._line.pump(0.5):
                assert isinstance(finished.result, Receipt)
                assert finished.result.outcome == "published", finished.result.reason
        number = self._line.flush()
        while not self._line.is_flushed(number):
            self._line.pump(0.5)


@contextmanager
def rebuilding(directory: Path) -> Iterator[Study]:
    """The study in its first state, in a tree of its own below this directory."""
    root = directory / "root"
    written = write_config(directory, {"rootDir": str(root), "contentType": "none"}, {"workers": 1})
    with open_line(config.load(written, {}).storage(), "warning", role="create") as (line, _):
        yield Study(directory, line, root)


@dataclass(frozen=True, slots=True)
class View:
    """One URL and how to read its answer.

    Attributes:
        url: the request's target.
        read: what a whole body tells; fails if it is of no state, or of several.
        least: what it must tell once a state is reached.
    """

    url: str
    read: Callable[[bytes], State]
    least: Callable[[int], State]


def views(study: Study) -> tuple[View, ...]:
    """Everything that changes with the rebuilds."""
    of_instance, of_series, of_study = (
        f"/dicomweb/{directory}"
        for directory in (
            layout.instance_dir(study.identity),
            layout.series_dir(study.identity.study, study.identity.series),
            layout.study_dir(study.identity.study),
        )
    )
    lists = ("metadata", "instances")
    return (
        *(View(f"{of_series}/{name}", _read_instances, _whole) for name in lists),
        *(View(f"{of_study}/{name}", _read_instances, _whole) for name in lists),
        View(f"{of_study}/series", functools.partial(_read_query, "0008103E", "00201209"), _whole),
        View(
            f"/dicomweb/studies?StudyInstanceUID={study.identity.study}",
            functools.partial(_read_query, "00081030", "00201208"),
            _whole,
        ),
        View(
            "/dicomweb/studies",
            functools.partial(_read_studies, study.identity.study),
            lambda state: (state, state // ADDING),
        ),
        View(f"{of_instance}/metadata", lambda body: (_number(json.loads(body)[0]),), _replaced),
        View(f"{of_instance}/frames/1", _read_frame, _replaced),
    )


def _whole(state: int) -> State:
    return (state,)


def _replaced(state: int) -> State:
    """The number that the first instance shows in this state."""
    return (state if state % ADDING or not state else state - 1,)


def _state(number: int, instances: int) -> int:
    """The state in which the first instance shows this number and there are so many instances."""
    for state in (number, number + 1):
        if _replaced(state) == (number,) and instances == FIRST_INSTANCES + state // ADDING:
            return state
    raise AssertionError(f"never were there {instances} instances when the first one said {number}")


def _value(item: dict[str, Any], tag: str) -> Any:
    return item[tag]["Value"][0]


def _number(item: dict[str, Any]) -> int:
    number = int(_value(item, "00200012"))
    if "0008103E" in item:
        assert _value(item, "0008103E") == _value(item, "00081030") == f"version {number}"
    return number


def _read_instances(body: bytes) -> State:
    items = json.loads(body)
    assert len({_value(item, "00080018") for item in items}) == len(items)
    return (_state(_number(items[0]), len(items)),)


def _read_query(description: str, instances: str, body: bytes) -> State:
    (item,) = json.loads(body)
    return (_state(int(_value(item, description).removeprefix("version ")), _value(item, instances)),)


def _read_studies(study: str, body: bytes) -> State:
    items = {_value(item, "0020000D"): item for item in json.loads(body)}
    own = json.dumps([items.pop(study)]).encode()
    return (*_read_query("00081030", "00201208", own), len(items))


def _read_frame(body: bytes) -> State:
    head, _, rest = body.partition(b"\r\n\r\n")
    assert head.startswith(b"--BOUNDARY_")
    pixels, _, end = rest.rpartition(b"\r\n--BOUNDARY_")
    assert len(pixels) == 2 * 32 * 32
    assert end.endswith(b"--")
    return struct.unpack("<h", pixels[:2])


@dataclass(slots=True)
class Known:
    """What all readers have learnt together.

    Attributes:
        bodies: of each URL and entity tag, the SHA-256 of the body and what it tells.
        lengths: of the gzipped body of each URL and entity tag.
        answers: how many of each status there were.
    """

    bodies: dict[tuple[str, str], tuple[str, State]] = field(default_factory=dict)
    lengths: dict[tuple[str, str], int] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)

    def states(self, view: View) -> int:
        """How many different bodies of a URL were seen."""
        return len({digest for (url, _), (digest, _) in self.bodies.items() if url == view.url})


class Reader:
    """One client with one connection, which asks for everything in turn and believes nothing."""

    def __init__(self, server: Server, study: Study, known: Known, seed: int) -> None:
        self._server = server
        self._study = study
        self._known = known
        self._chance = random.Random(seed)
        self._seen: dict[str, tuple[str, State]] = {}

    def read(self, going_on: Callable[[], bool]) -> None:
        """Ask for as long as it goes on, and once more."""
        choice = views(self._study)
        connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=30)
        with closing(connection):
            more = True
            while more:
                more = going_on()
                for view in self._chance.sample(choice, len(choice)):
                    self._ask(connection, view)

    def _ask(self, connection: http.client.HTTPConnection, view: View) -> None:
        method = self._chance.choice(("GET", "GET", "HEAD"))
        gzipped = self._chance.random() < 0.7
        headers = {"Accept-Encoding": "gzip" if gzipped else "identity"}
        etag, seen = self._seen.get(view.url, ("", view.least(0)))
        if etag and self._chance.random() < 0.5:
            headers["If-None-Match"] = etag
        least = view.least(self._study.done)
        connection.request(method, view.url, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        self._known.answers[answer.status] += 1
        if answer.status == 304:
            assert "If-None-Match" in headers
            assert answer.headers["ETag"].removeprefix("W/") == etag.removeprefix("W/")
            assert _reaches(seen, least), f"{view.url} had changed: {seen} is not {least}"
            return
        assert answer.status == 200, view.url
        told = self._judge(method, view, answer, body)
        if told is not None:
            assert _reaches(told, seen), f"{view.url} went back from {seen} to {told}"
            assert _reaches(told, least), f"{view.url} said {told}, although {least} was reached"
            assert _reaches(view.least(self._study.begun), told)
            self._seen[view.url] = answer.headers["ETag"], told

    def _judge(self, method: str, view: View, answer: http.client.HTTPResponse, body: bytes) -> State | None:
        """What a good answer tells; None if it has no body and nobody has seen the one that it would have."""
        tag = view.url, answer.headers["ETag"].removeprefix("W/")
        if answer.headers["Content-Encoding"] == "gzip":
            length = int(answer.headers["Content-Length"])
            assert self._known.lengths.setdefault(tag, length) == length
            if method == "GET":
                assert len(body) == length
                body = _unpacked(body)
        if method == "HEAD":
            assert not body
            return self._known.bodies[tag][1] if tag in self._known.bodies else None
        digest = hashlib.sha256(body).hexdigest()
        told = view.read(body)
        assert self._known.bodies.setdefault(tag, (digest, told))[0] == digest, f"{tag} has had another body"
        return told


def _unpacked(body: bytes) -> bytes:
    """The content of exactly one gzip member, whose checksum holds."""
    member = zlib.decompressobj(wbits=31)
    content = member.decompress(body)
    assert member.eof
    assert not member.unused_data
    return content


def _reaches(state: State, other: State) -> bool:
    return all(one >= another for one, another in zip(state, other, strict=True))
