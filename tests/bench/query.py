"""The query index, when there are very many studies."""

import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import orjson

from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.archive.query_writer import QueryIndexWriter, SeriesRows, StudyRows
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.matching import Key
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline.searchable import Searchable
from staticwado_daemon.pipeline.studies import Studies
from tests.bench.studies import query_answer
from tests.bench.table import Row, at_most

SEARCH_MILLISECONDS = 200.0
GROWTH_MICROSECONDS = 100.0
"""For one instance more: three per cent of what the cheapest way to store one costs."""
INSTANCE_BYTES = 120.0
START_SECONDS = 2.0

_SEED = 20260214
_SERIES = 3
_CT = "1.2.840.10008.5.1.4.1.1.2"
_BATCH = 500


def measure(count: int, scratch: Path) -> Iterator[Row]:
    """Search among `count` studies of three series; have a series grow; and see what an instance takes."""
    path = scratch / FILE
    scratch.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    build(path, count)
    yield Row(f"query index of {count:,} studies: made of its rows, s", f"{time.perf_counter() - started:.1f}")
    yield Row("query index: bytes for a study of three series", f"{size(path) / count:,.0f}")
    with QueryIndex(path) as index:
        for name, keys in questions(index):
            spent = best(partial(found, index, keys))
            yield at_most(f"query index, by {name}: all answers, ms", spent, SEARCH_MILLISECONDS)
        yield Row("query index, anything: first answer, ms", f"{best(lambda: next(index.studies())):.1f}")
        spent = best(lambda: index.instances(instance_uid(7, 0, 0)))
        yield Row("query index, one instance's place, ms", f"{spent:.2f}")
    yield _start(path)
    yield from _growth(path)


def _start(path: Path) -> Row:
    """What a start of the publisher does when nothing has changed."""
    listed = StudiesIndex()
    with QueryIndex(path) as index:
        listed.put_all(row.answer for row in index.studies())
    root = path.parent / "root"
    with Store(root) as store, closing(Searchable(store, path, listed)) as searchable:
        started = time.perf_counter()
        searchable.write(Studies(root, 0))
        spent = time.perf_counter() - started
    return at_most(f"query index of {len(listed):,} studies: compared with the list, s", spent, START_SECONDS)


def build(path: Path, studies: int, instances: int = 1) -> None:
    """Write a complete index of so many studies, three series each, each of so many instances."""
    generator = random.Random(_SEED)
    writer = QueryIndexWriter(path)
    for start in range(0, studies, _BATCH):
        with writer.transaction():
            for number in range(start, min(start + _BATCH, studies)):
                writer.put(study_rows(generator, number, [instances] * _SERIES))
        writer.trim()
    with writer.transaction():
        writer.finish()
    writer.close()


def study_rows(generator: random.Random, number: int, series: Sequence[int]) -> StudyRows:
    """A study of series with so many instances each."""
    answer = orjson.loads(query_answer(generator, number))
    uid = UID(f"1.2.826.0.1.3680043.8.498.{number}")
    answer["0020000D"]["Value"] = [uid]
    rows = [_series_rows(number, position, count) for position, count in enumerate(series)]
    return StudyRows(uid, orjson.dumps(answer), rows)


def questions(index: QueryIndex) -> Iterator[tuple[str, list[Key]]]:
    """Keys that few studies have, by what they are; those of a study somewhere in the middle, and a name's part."""
    uid = "1.2.826.0.1.3680043.8.498.77"
    (row,) = index.studies([Key("0020000D", "UI", (uid,))])
    answer = orjson.loads(row.answer)
    yield "patient's ID", [Key("00100020", "LO", tuple(answer["00100020"]["Value"]))]
    yield "part of a name", [Key("00100010", "PN", ("*NAME77*",))]
    yield "accession number", [Key("00080050", "SH", tuple(answer["00080050"]["Value"]))]
    yield "day", [Key("00080020", "DA", (f"{answer['00080020']['Value'][0]}-{answer['00080020']['Value'][0]}",))]
    yield "100 UIDs", [Key("0020000D", "UI", tuple(f"1.2.826.0.1.3680043.8.498.{number}" for number in range(100)))]


def found(index: QueryIndex, keys: Sequence[Key]) -> int:
    """How many studies there are for these keys, all of them read."""
    return sum(1 for _ in index.studies(keys))


def best(do: Callable[[], object], rounds: int = 5) -> float:
    """Milliseconds that it takes, of several times the shortest."""
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        do()
        spent.append(time.perf_counter() - started)
    return min(spent) * 1e3


def size(path: Path) -> int:
    """Bytes of the index and what stands beside it."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def instance_uid(study: int, series: int, instance: int) -> UID:
    """As long as UIDs are in the field."""
    return UID(f"1.2.826.0.1.3680043.8.498.{study:012}.{series:04}.{instance:08}.20260214")


def _series_rows(study: int, series: int, instances: int) -> SeriesRows:
    uid = UID(f"1.2.826.0.1.3680043.8.498.{study}.{series}")
    values: dict[str, tuple[str, object]] = {
        "00080060": ("CS", "CT"),
        "0008103E": ("LO", f"Thorax {series} with contrast"),
        "0020000E": ("UI", uid),
        "00200011": ("IS", series),
        "00201209": ("IS", instances),
    }
    answer = orjson.dumps({tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()})
    uids = {instance_uid(study, series, number): _CT for number in range(instances)}
    return SeriesRows(uid, changed=True, answer=lambda: answer, instances=lambda: uids)


def _growth(path: Path) -> Iterator[Row]:
    """CPU of one instance more in a series of 1,000, and bytes for each of many."""
    generator = random.Random(_SEED)
    number = 10**6
    writer = QueryIndexWriter(path)
    with writer.transaction():
        writer.put(study_rows(generator, number, [1000]))
    rows = [study_rows(random.Random(_SEED), number, [1000 + more]) for more in range(1, 51)]
    before = _cpu()
    for each in rows:
        with writer.transaction():
            writer.put(each)
    spent = (_cpu() - before) / len(rows)
    yield Row("query index: one instance more in a series of 1,000, CPU ms", f"{spent * 1e3:.2f}")
    wide = [study_rows(generator, number + 1 + each, [250] * 4) for each in range(50)]
    writer.close()
    little = size(path)
    writer = QueryIndexWriter(path)
    before = _cpu()
    for each in wide:
        with writer.transaction():
            writer.put(each)
    count = 1000 * len(wide)
    spent = (_cpu() - before) / count
    yield at_most("query index: one of 250 new instances, CPU µs", spent * 1e6, GROWTH_MICROSECONDS, ".1f")
    writer.close()
    yield at_most("query index: bytes for an instance", (size(path) - little) / count, INSTANCE_BYTES, ".0f")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
