"""The query index itself: what is written into it, how little of it is, and what is found."""

import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from staticwado_daemon.archive import query_narrowing, query_writer
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.query_tables import FILE, packed
from staticwado_daemon.archive.query_writer import QueryIndexWriter, StudyRows, remove
from staticwado_daemon.dicom.matching import MOST_VALUES, Key, Unmatchable, matches
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Transient
from tests.bench import query
from tests.querying import contents, study_rows, unpacked

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
TAGS = {
    "date": ("00080020", "DA"),
    "time": ("00080030", "TM"),
    "accession": ("00080050", "SH"),
    "modalities": ("00080061", "CS"),
    "referring": ("00080090", "PN"),
    "description": ("00081030", "LO"),
    "name": ("00100010", "PN"),
    "patient": ("00100020", "LO"),
    "issuer": ("00100021", "LO"),
    "born": ("00100030", "DA"),
    "study_id": ("00200010", "SH"),
    "series_count": ("00201206", "IS"),
    "instances": ("00201208", "IS"),
}


def answer(uid: str, **values: object) -> bytes:
    """A study's query answer; a list is of several values."""
    attributes: dict[str, object] = {"0020000D": {"vr": "UI", "Value": [uid]}}
    for name, value in values.items():
        tag, vr = TAGS[name]
        several = value if isinstance(value, list) else [value]
        attributes[tag] = {
            "vr": vr,
            "Value": [{"Alphabetic": each} if vr == "PN" and isinstance(each, str) else each for each in several],
        }
    return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)


def series_answer(uid: str, modality: str = "CT") -> bytes:
    attributes = {"00080060": {"vr": "CS", "Value": [modality]}, "0020000E": {"vr": "UI", "Value": [uid]}}
    return orjson.dumps(attributes)


def key(name: str, *values: str) -> Key:
    return Key(*TAGS[name], values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@pytest.fixture
def writer(path: Path) -> Iterator[QueryIndexWriter]:
    with closing(QueryIndexWriter(path)) as opened:
        yield opened


def write(writer: QueryIndexWriter, *studies: StudyRows) -> None:
    with writer.transaction():
        for each in studies:
            writer.put(each)
        writer.finish()


def uids(index: QueryIndex, *keys: Key) -> list[str]:
    return [row.uid for row in index.studies(keys)]


@pytest.mark.parametrize("uid", ["1", "1.2", "1.20", "0.0", "1.02.003", "9" * 64, "1." * 31 + "1"])
def test_a_uid_is_packed_into_half_its_length_and_comes_back(uid: str) -> None:
    assert len(packed(uid)) == (len(uid) + 1) // 2
    assert unpacked(packed(uid)) == uid


def test_studies_are_listed_newest_first_and_series_in_their_order(writer: QueryIndexWriter, path: Path) -> None:
    write(
        writer,
        study_rows(
            "1.1",
            answer("1.1", date="20200101"),
            [("1.1.9", series_answer("1.1.9"), {}), ("1.1.2", series_answer("1.1.2"), {})],
        ),
        study_rows("1.2", answer("1.2", date="20240101", time="0800"), [("1.2.1", series_answer("1.2.1", "MR"), {})]),
        study_rows("1.3", answer("1.3", date="20240101", time="0900")),
        study_rows("1.4", answer("1.4")),
    )
    with QueryIndex(path) as index:
        assert uids(index) == ["1.3", "1.2", "1.1", "1.4"]
        found = [*index.series()]
        assert [(row.study, row.uid) for row in found] == [("1.2", "1.2.1"), ("1.1", "1.1.9"), ("1.1", "1.1.2")]
        assert found[0].answer == series_answer("1.2.1", "MR")
        assert found[0].study_answer == answer("1.2", date="20240101", time="0800")
        modality = Key("00080060", "CS", ("MR",))
        assert [row.uid for row in index.series([modality])] == ["1.2.1"]
        assert [row.uid for row in index.series([Key("0020000E", "UI", ("1.1.2", "7"))])] == ["1.1.2"]
        assert [row.uid for row in index.series([key("date", "20210101-"), modality])] == ["1.2.1"]


def test_an_instance_is_found_wherever_it_is(writer: QueryIndexWriter, path: Path) -> None:
    write(
        writer,
        study_rows("1.1", answer("1.1"), [("1.1.1", series_answer("1.1.1"), {"1.5": CT, "1.50": MR})]),
        study_rows("1.2", answer("1.2"), [("1.2.1", series_answer("1.2.1"), {"1.5": "no UID"})]),
    )
    with QueryIndex(path) as index:
        first, second = Identity(UID("1.1"), UID("1.1.1"), UID("1.5")), Identity(UID("1.2"), UID("1.2.1"), UID("1.5"))
        assert index.instances(UID("1.5")) == [first, second]
        assert index.sop_classes(UID("1.1")) == sorted((CT, MR))
        assert index.sop_classes(UID("1.2")) == []
        assert index.instances(UID("1.500")) == []


def test_a_study_is_of_the_classes_that_its_instances_have(writer: QueryIndexWriter, path: Path) -> None:
    write(
        writer,
        study_rows(
            "1.1",
            answer("1.1"),
            [
                ("1.1.1", series_answer("1.1.1"), {"1.5": MR, "1.6": CT, "1.7": MR}),
                ("1.1.2", series_answer("1.1.2"), {"1.8": CT, "1.9": "no UID"}),
            ],
        ),
        study_rows("1.2", answer("1.2"), [("1.2.1", series_answer("1.2.1"), {"1.5": "no UID"})]),
    )
    with QueryIndex(path) as index:
        assert index.sop_classes(UID("1.1")) == sorted([CT, MR])
        assert index.sop_classes(UID("1.2")) == []
        assert index.sop_classes(UID("1.3")) == []


def test_patients_are_told_apart_by_id_and_issuer_and_counted(writer: QueryIndexWriter, path: Path) -> None:
    write(
        writer,
        study_rows("1.1", answer("1.1", patient="A", name="Old^Name", date="20200101", series_count=2, instances=30)),
        study_rows("1.2", answer("1.2", patient="A", name="New^Name", date="20210101", series_count=1, instances=5)),
        study_rows("1.3", answer("1.3", patient="A", name="New^Name", date="20190101", series_count=1, instances=1)),
        study_rows("1.4", answer("1.4", patient="A", issuer="ELSEWHERE", name="Other", date="20220101")),
        study_rows("1.5", answer("1.5", name="Nobody", date="20180101")),
        study_rows("1.6", answer("1.6", name="Somebody", date="20170101")),
    )
    with QueryIndex(path) as index:
        found = [*index.patients()]
        assert [(row.studies, row.series, row.instances) for row in found] == [
            (1, 0, 0),
            (3, 4, 36),
            (1, 0, 0),
            (1, 0, 0),
        ]
        newest, older = (
            answer("1.2", patient="A", name="New^Name", date="20210101", series_count=1, instances=5),
            found[1].answers[1],
        )
        assert found[1].answers == (newest, older)
        assert orjson.loads(older)["0020000D"]["Value"] == ["1.1"]
        assert [row.studies for row in index.patients([key("name", "old*")])] == [3]


def test_ids_of_several_values_are_told_apart(writer: QueryIndexWriter, path: Path) -> None:
    write(
        writer,
        study_rows("1.1", answer("1.1", patient=["A", "B"], date="20200101")),
        study_rows("1.2", answer("1.2", patient=["A", "B"], date="20190101")),
        study_rows("1.3", answer("1.3", patient=["A", "C"], date="20180101")),
        study_rows("1.4", answer("1.4", patient="A", date="20170101")),
    )
    with QueryIndex(path) as index:
        assert [row.studies for row in index.patients()] == [2, 1, 1]


def test_what_has_not_changed_is_not_written_again(writer: QueryIndexWriter, path: Path) -> None:
    instances = {f"1.1.1.{number}": CT for number in range(1000)}
    others = ("1.1.2", series_answer("1.1.2"), {f"1.1.2.{number}": MR for number in range(1000)})
    write(writer, study_rows("1.1", answer("1.1"), [("1.1.1", series_answer("1.1.1"), instances), others]))
    changes = writer._database.total_changes
    more = {**instances, "1.1.1.1000": CT}
    write(writer, study_rows("1.1", answer("1.1"), [("1.1.1", series_answer("1.1.1"), more), others]))
    assert writer._database.total_changes - changes < 10
    assert len(contents(path)["instances"]) == 2001


def test_what_is_written_depends_on_nothing_but_what_it_is(tmp_path: Path) -> None:
    generator = random.Random(9)
    first, second = tmp_path / "first", tmp_path / "second"
    now = {number: query.study_rows(random.Random(number), number, [number + 1, 2]) for number in range(6)}
    for path in (first, second):
        with closing(QueryIndexWriter(path)) as opened:
            if path == second:
                for _ in range(40):
                    number = generator.randrange(8)
                    sizes = [generator.randrange(5) for _ in range(generator.randrange(4))]
                    with opened.transaction():
                        opened.put(query.study_rows(random.Random(generator.random()), number, sizes))
                with opened.transaction():
                    opened.remove(UID("1.2.826.0.1.3680043.8.498.6"))
                    opened.remove(UID("1.2.826.0.1.3680043.8.498.7"))
            write(opened, *now.values())
    assert contents(first) == contents(second)


def test_a_sop_class_may_become_another(writer: QueryIndexWriter, path: Path) -> None:
    for sop_class in (CT, MR):
        write(writer, study_rows("1.1", answer("1.1"), [("1.1.1", series_answer("1.1.1"), {"1.5": sop_class})]))
    with QueryIndex(path) as index:
        assert index.sop_classes(UID("1.1")) == [MR]


def test_after_an_error_nothing_of_it_is_there(writer: QueryIndexWriter, path: Path) -> None:
    write(writer, study_rows("1.1", answer("1.1")))
    before = contents(path)
    more = study_rows("1.2", answer("1.2"), [("1.2.1", series_answer("1.2.1"), {"1.5": MR})])
    broken = study_rows("1.3", b"no JSON")
    with pytest.raises(orjson.JSONDecodeError):
        write(writer, more, broken)
    assert contents(path) == before
    write(writer, more)
    assert contents(path)["instances"] == [("1.2", "1.2.1", "1.5", MR)]


NAMES = [
    "Smith^John",
    "SMITH^JOHN^^Dr",
    "Smithers",
    "Müller^Jörg",
    "MÜLLER",
    "山田^太郎",
    "Doe",
    "Doe^Jane^",
    " ",
    "a\\b",
    "Smith [x]",
]
TEXTS = ["A1", "a1", "A10", " A1 ", "", "A*", "100%", "A_1", "[A]1", "x'; DROP", "Ä1", "A\U0010ffff1"]
DATES = ["20200101", "2020.01.01", "20201231", "2020", "99999999", "", "20190630"]
ASKED = {
    "name": [
        "smith*",
        "*SMITH*",
        "smith^john",
        "doe^*",
        "Doe",
        "müller*",
        "MÜLLER",
        "*^j*",
        "山田*",
        "?mith*",
        "*=山田",
        '""',
        "[x]",
        "*[X]*",
        "smith^^",
    ],
    "patient": ["A1", "a*", "*1", "?1", "A?0", "A*0", '""', "[A]*", "100%", "A_1", "*", "", "x'; DROP", "*1*1*"],
    "accession": ["A1", "*", "A*"],
    "date": ["20200101", "20200101-", "-20200101", "20190101-20200630", "20201231-20200101", '""'],
    "modalities": ["CT", "C*", "MR\\CT", "?R", '""', "T"],
    "referring": ["smith*", "*ö*"],
    "description": ["*", "A1", "*A*"],
    "born": ["20200101-"],
}


def test_nothing_that_matches_is_missing(writer: QueryIndexWriter, path: Path) -> None:
    generator = random.Random(20260314)
    answers = {}
    for number in range(200):
        values: dict[str, object] = {}
        for name in ASKED:
            pool = DATES if name in ("date", "born") else NAMES if name in ("name", "referring") else TEXTS
            pool = ["CT", "MR", "SR", "DR"] if name == "modalities" else pool
            chosen = [generator.choice(pool) for _ in range(generator.choice([0, 1, 1, 1, 1, 2, 3]))]
            values |= {name: [each or None for each in chosen]} if chosen else {}
        answers[f"1.{number}"] = answer(f"1.{number}", **values)
    write(writer, *(study_rows(uid, each) for uid, each in answers.items()))
    narrowed = 0
    with QueryIndex(path) as index:
        for _ in range(400):
            asked = generator.sample(sorted(ASKED), generator.choice([1, 1, 2]))
            keys = [key(name, *generator.choice(ASKED[name]).split("\\")) for name in asked]
            expected = {uid for uid, each in answers.items() if matches(keys, orjson.loads(each))}
            found = uids(index, *keys)
            assert expected <= {*found}, keys
            assert len(found) == len({*found})
            narrowed += len(found) < len(answers)
    assert narrowed > 250


def test_a_name_of_many_wild_cards_makes_no_long_question() -> None:
    several = "*".join(chr(0x4E00 + number) for number in range(500))
    values = tuple(f"{several}*Doe {number}" for number in range(MOST_VALUES))
    asked = query_narrowing.condition([key("name", *values)], query_narrowing.STUDY)
    assert MOST_VALUES <= len(asked.values) <= 10 * MOST_VALUES
    assert {"doe 0", "doe 99"} <= {*asked.values}, "the longest text says most"


def test_keys_that_are_not_what_they_should_be_narrow_nothing_or_are_refused(
    writer: QueryIndexWriter, path: Path
) -> None:
    write(writer, study_rows("1.1", answer("1.1", patient="A")))
    with QueryIndex(path) as index:
        assert uids(index, Key("00100020", "IS", ("1",))) == ["1.1"], "another VR than the attribute has"
        assert uids(index, Key("00101010", "AS", ("001Y",))) == ["1.1"], "an attribute that the index doesn't know"
        assert uids(index, Key("0020000D", "UI", ("1.1",) * 40_000)) == ["1.1"]
        with pytest.raises(Unmatchable):
            uids(index, key("date", "tomorrow"))


def test_until_it_is_complete_nobody_is_answered(writer: QueryIndexWriter, path: Path, tmp_path: Path) -> None:
    with pytest.raises(Transient, match=r"there is no query index in .* start the daemon or run `staticwado index`"):
        QueryIndex(tmp_path / "absent" / FILE)
    with writer.transaction():
        writer.begin(1234)
        writer.put(study_rows("1.1", answer("1.1")))
    with pytest.raises(
        Transient, match=r"^the query index is being made, 1 of 1,234 studies are in it: try again later$"
    ):
        QueryIndex(path)
    with writer.transaction():
        writer.finish()
    with QueryIndex(path) as index:
        assert uids(index) == ["1.1"]
        with writer.transaction():
            writer.begin(2)
        with pytest.raises(Transient, match="is being made"):
            uids(index)


def test_a_new_file_is_taken_at_once(writer: QueryIndexWriter, path: Path) -> None:
    write(writer, study_rows("1.1", answer("1.1")))
    with QueryIndex(path) as index:
        assert uids(index) == ["1.1"]
        writer.close()
        remove(path)
        with pytest.raises(Transient, match="there is no query index"):
            uids(index)
        with closing(QueryIndexWriter(path)) as another:
            write(another, study_rows("1.2", answer("1.2")))
            assert uids(index) == ["1.2"]


def test_an_answer_that_is_read_slowly_keeps_nobody_waiting(path: Path) -> None:
    query.build(path, 600)
    with closing(QueryIndexWriter(path)) as writer, QueryIndex(path) as index:
        slow = index.studies()
        first = next(slow)
        with writer.transaction():
            for number in range(300):
                writer.remove(UID(f"1.2.826.0.1.3680043.8.498.{number}"))
        ((_, frames, done),) = writer._ask("PRAGMA wal_checkpoint(RESTART)")
        assert frames == done
        left = [row.uid for row in slow]
        assert 300 <= len(left) + 1 < 600
        assert first.uid not in left


def test_a_log_that_cannot_be_brought_into_the_file_stays_where_it_is(
    writer: QueryIndexWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_writer, "_LONGEST_LOG", 0)
    write(writer, study_rows("1.1", answer("1.1")))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))  # as if the disk were full
    try:
        writer.make_durable()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with QueryIndex(path) as index:
        assert uids(index) == ["1.1"]
    size = path.stat().st_size
    writer.make_durable()
    assert path.stat().st_size > size
    write(writer, study_rows("1.2", answer("1.2")))
    with QueryIndex(path) as index:
        assert uids(index) == ["1.2", "1.1"]


@pytest.mark.parametrize("damage", [b"no database, but long enough to be taken for one" * 100, b""])
def test_a_damaged_file_is_of_no_use(writer: QueryIndexWriter, path: Path, damage: bytes) -> None:
    write(writer, study_rows("1.1", answer("1.1")))
    writer.close()
    path.write_bytes(damage)
    with pytest.raises(Transient, match=r"is damaged|is of another version"):
        QueryIndex(path)
    if damage:
        with pytest.raises(Corrupt, match="the query index is damaged"):
            QueryIndexWriter(path)


def test_another_version_is_of_no_use(writer: QueryIndexWriter, path: Path) -> None:
    write(writer, study_rows("1.1", answer("1.1")))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    writer.close()
    with pytest.raises(Corrupt, match="version 99"):
        QueryIndexWriter(path)
    with pytest.raises(Transient, match="is of another version: start the daemon or run `staticwado index`"):
        QueryIndex(path)


@pytest.mark.parametrize("is_written_to", [False, True])
def test_who_may_only_read_can(*, is_written_to: bool) -> None:
    """Another user, or a service for which the file system is read-only."""
    # Not below a directory of pytest's, which nobody else may enter.
    with tempfile.TemporaryDirectory() as directory:
        assert_readable_by_others(Path(directory) / FILE, is_written_to=is_written_to)


def assert_readable_by_others(path: Path, *, is_written_to: bool) -> None:
    writer = QueryIndexWriter(path)
    write(writer, study_rows("1.1", answer("1.1")))
    if not is_written_to:
        writer.close()
    for each in (path.parent, *path.parent.glob("*")):
        each.chmod(0o555 if each.is_dir() else 0o444)
    program = """if True:
        import os, sys
        from pathlib import Path
        from staticwado_daemon.archive.query_index import QueryIndex
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        with QueryIndex(Path(sys.argv[1])) as index:
            print([row.uid for row in index.studies()])
    """
    assert os.geteuid() == 0, "only root can become somebody else; run this test as root"
    arguments = [sys.executable, "-c", program, path]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("['1.1']\n", "")
    writer.close()


@pytest.mark.parametrize("studies", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_few_are_found_among_many(path: Path, studies: int) -> None:
    query.build(path, studies)
    with QueryIndex(path) as index:
        for name, keys in query.questions(index):
            started = time.perf_counter()
            found = query.found(index, keys)
            spent = time.perf_counter() - started
            assert 1 <= found <= studies / 50, name
            assert spent < 1, name  # on a machine that is busy with other tests; the benchmark has the figure
