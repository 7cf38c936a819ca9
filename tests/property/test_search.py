"""What the query index narrows to and matching leaves is what matching alone finds among all there is."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staticwado_daemon.archive import query_index
from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.archive.query_writer import QueryIndexWriter, SeriesRows, StudyRows
from staticwado_daemon.archive.search import Answer, Level, search
from staticwado_daemon.dicom.matching import Key, matcher
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Rejected

VALUES: dict[str, tuple[str, list[object]]] = {
    "00080020": ("DA", ["20240101", "2024.01.02", "20231231", "unknown", "", "19991231"]),
    "00080030": ("TM", ["10", "101500", "10:15:00.5", "", "2359"]),
    "00080050": ("SH", ["A1", "A12", " A1", "a1", "A*1", ""]),
    "00080061": ("CS", ["CT", "MR", "C", "SEG"]),
    "00081030": ("LO", ["Head", "Head CT", "HEAD", "He\u00e4d", "a?d", ""]),
    "00080090": ("PN", [{"Alphabetic": "Ref^R"}, {"Alphabetic": "ref"}, {"Ideographic": "山田"}]),
    "00100010": (
        "PN",
        [
            *(
                {"Alphabetic": "Doe^John"},
                {"Alphabetic": "DOE^J^^^"},
                {"Alphabetic": "Doe"},
                {"Alphabetic": "Straße^A"},
            ),
            *({"Alphabetic": "Yamada", "Ideographic": "山田^太郎", "Phonetic": "やまだ"}, {"Phonetic": "ﾔﾏﾀﾞ"}),
        ],
    ),
    "00100020": ("LO", ["P1", "P2", "p1", "P1 2", "P?", ""]),
    "00100021": ("LO", ["HOSPITAL", "", "OTHER"]),
    "00100030": ("DA", ["19700101", "", "19700102"]),
    "00200010": ("SH", ["1", "2", ""]),
    "0008103E": ("LO", ["thin", "thick", ""]),
    "00080060": ("CS", ["CT", "MR", ""]),
}
SERIES_TAGS = ("0008103E", "00080060")
OF_BOTH = "00080090"
"""What a series may say otherwise than its study."""
STUDIES = 300


def _answer(generator: random.Random, tags: list[str]) -> Answer:
    made: Answer = {}
    for tag in tags:
        vr, values = VALUES[tag]
        chosen = generator.sample(values, generator.choice((0, 1, 1, 1, 1, 2)))
        if listed := [None if value == "" else value for value in chosen]:
            made[tag] = {"vr": vr, "Value": listed}
    return made


def _studies() -> Iterator[tuple[Answer, list[Answer]]]:
    generator = random.Random(5)
    for number in range(STUDIES):
        study = _answer(generator, [tag for tag in VALUES if tag not in SERIES_TAGS])
        uid = {"0020000D": {"vr": "UI", "Value": [f"1.{number}"]}}
        series = []
        for position in range(generator.choice((1, 2))):
            own = {"0020000E": {"vr": "UI", "Value": [f"1.{number}.{position}"]}}
            series.append(_answer(generator, [*SERIES_TAGS, OF_BOTH]) | uid | own)
        counts = {"00201206": {"vr": "IS", "Value": [len(series)]}, "00201208": {"vr": "IS", "Value": [number % 7]}}
        yield study | uid | counts, series


ALL = list(_studies())


@pytest.fixture(scope="module")
def index() -> Iterator[query_index.QueryIndex]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE
        writer = QueryIndexWriter(path)
        with writer.transaction():
            for study, series in ALL:
                rows = [_rows(each) for each in series]
                writer.put(StudyRows(UID(study["0020000D"]["Value"][0]), orjson.dumps(study), rows))
            writer.finish()
        writer.close()
        with query_index.QueryIndex(path) as opened:
            yield opened


def _rows(series: Answer) -> SeriesRows:
    answer = orjson.dumps(series)
    return SeriesRows(UID(series["0020000E"]["Value"][0]), changed=True, answer=lambda: answer, instances=dict)


def _asked(value: object) -> str:
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return str(value)


@st.composite
def keys(draw: st.DrawFn) -> Key:
    """A key as people ask: a value that there is, part of it with wild cards, in capitals, a range, nothing."""
    tag = draw(st.sampled_from(["0020000D", *VALUES]))
    if tag == "0020000D":
        return Key(tag, "UI", tuple(draw(st.lists(st.sampled_from(["1.1", "1.2", "1.299", "1.300"]), max_size=3))))
    vr, known = VALUES[tag]
    asked = []
    for value in draw(st.lists(st.sampled_from(known), max_size=2)):
        text = _asked(value)
        cut = draw(st.integers(0, len(text)))
        forms = [text, text[:cut] + "*", "*" + text[cut:], text[:cut] + "?" + text[cut + 1 :], text.upper(), '""']
        forms += [
            f"*{text[cut : cut + 2]}*",
            f"{text}-",
            f"-{text}",
            f"{text}-{_asked(known[0])}",
            f"{text}^*",
            f"={text}",
        ]
        asked.append(draw(st.sampled_from(forms)))
    return Key(tag, vr, tuple(asked))


@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
@given(asked=st.lists(keys(), min_size=1, max_size=3))
@settings(deadline=None)
def test_nothing_is_missing_and_nothing_too_much(index: query_index.QueryIndex, level: Level, asked: list[Key]) -> None:
    try:
        matches = matcher(asked)
    except Rejected:
        with pytest.raises(Rejected):
            list(search(index, Path("/nowhere"), level, asked))
        return
    candidates = (
        [study for study, _ in ALL] if level == "STUDY" else [study | one for study, all_ in ALL for one in all_]
    )
    found = list(search(index, Path("/nowhere"), level, asked))
    assert _sorted(found) == _sorted([each for each in candidates if matches(each)])


def _sorted(answers: list[Answer]) -> list[bytes]:
    return sorted(orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in answers)
