"""The list of all studies, when there are very many of them."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline import publish
from tests.bench.table import Row, at_most

REFRESH_SECONDS = 1.0
_SEED = 20260103


def measure(count: int, scratch: Path) -> Iterator[Row]:
    """Write the list, list one more study, and write it again; then read it, as a daemon's start does."""
    generator = random.Random(_SEED)
    index = StudiesIndex()
    index.put_all(query_answer(generator, number) for number in range(count))
    with Store(scratch) as store:
        publish.publish_index(store, index)
        index.put_all([query_answer(generator, count)])
        started = time.perf_counter()
        publish.publish_index(store, index)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        publish.read_index(store)
        reading = time.perf_counter() - started
    yield at_most(f"list of {count:,} studies: written again, s", seconds, REFRESH_SECONDS)
    yield Row(f"list of {count:,} studies: read, s", f"{reading:.2f}")


def query_answer(generator: random.Random, number: int) -> bytes:
    """A study's query answer, with the attributes that most studies have."""
    day = f"20{generator.randrange(26):02}{generator.randrange(1, 13):02}{generator.randrange(1, 29):02}"
    values: dict[str, tuple[str, object]] = {
        "00080005": ("CS", "ISO_IR 192"),
        "00080020": ("DA", day),
        "00080030": ("TM", f"{generator.randrange(240000):06}"),
        "00080050": ("SH", f"A{generator.randrange(10**8):08}"),
        "00080061": ("CS", generator.choice(["CT", "MR", "US", "CR", "DX"])),
        "00080090": ("PN", {"Alphabetic": f"Referring^{generator.randrange(500)}"}),
        "00081030": ("LO", generator.choice(["CT Head", "CT Chest with contrast", "MR Knee left", "DX Hand"])),
        "00100010": ("PN", {"Alphabetic": f"Name{generator.randrange(10**6)}^Given{generator.randrange(1000)}"}),
        "00100020": ("LO", f"P{generator.randrange(10**8):08}"),
        "00100030": ("DA", f"{generator.randrange(1930, 2020)}0501"),
        "00100040": ("CS", generator.choice("FM")),
        "0020000D": ("UI", str(UID(f"2.25.{generator.randrange(10**37)}"))),
        "00200010": ("SH", str(number)),
        "00201206": ("IS", generator.randrange(1, 9)),
        "00201208": ("IS", generator.randrange(1, 2000)),
    }
    return orjson.dumps({tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()})
