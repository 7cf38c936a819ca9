"""The fast reader's memory: whatever it has seen before, an answer depends on the file alone."""

from collections.abc import Callable

import pytest

from staticwado_daemon.dicom import explicit_le, with_pydicom
from staticwado_daemon.dicom.character_sets import DEFAULT_REPERTOIRE, CharacterSets
from staticwado_daemon.dicom.data_set import EXPLICIT_LITTLE, DataSet, Limits, Rules
from staticwado_daemon.dicom.json_model import Converted, convert
from staticwado_daemon.dicom.part10 import read
from tests.unit.dicom_bytes import element, file, item, meta, sequence

RULES = Rules(Limits(), "bulkdata/{}".format)
OFFSET = len(meta())


@pytest.fixture(autouse=True)
def _empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explicit_le, "_memory", explicit_le._Memory())


def quickly(data: bytes, rules: Rules = RULES) -> DataSet:
    found = explicit_le.read(data, OFFSET, rules)
    assert found is not None, "declined"
    return found


def thoroughly(data: bytes, rules: Rules = RULES) -> DataSet:
    return with_pydicom.read(data, OFFSET, EXPLICIT_LITTLE, rules)


def declared(term: bytes) -> bytes:
    return file(element(0x00080005, "CS", term), element(0x00100020, "LO", b"\xc3\xa9"))


def private(creator: bytes) -> bytes:
    return file(element(0x00190010, "LO", creator), element(0x00191002, "UN", b"\1\0\0\0"))


PAIRS: dict[str, tuple[bytes, bytes]] = {
    "the same file": (declared(b"ISO_IR 100"), declared(b"ISO_IR 100")),
    "other character sets": (declared(b"ISO_IR 100"), declared(b"ISO_IR 192")),
    "other private creators": (private(b"GEMS_ACQU_01"), private(b"ACME")),
    "no private creator": (private(b"GEMS_ACQU_01"), file(element(0x00191002, "UN", b"\1\0\0\0"))),
    "an icon, and pixel data of the same bytes": (
        file(sequence(0x00880200, item(element(0x7FE00010, "OB", b"icon")))),
        file(element(0x7FE00010, "OB", b"icon")),
    ),
    "a bulk value": (
        file(element(0x00290010, "LO", b"ACME"), element(0x00291001, "OB", bytes(100))),
        file(
            element(0x00290010, "LO", b"ACME"),
            element(0x00291001, "OB", bytes(100)),
            element(0x00280010, "US", b"\1\0"),
        ),
    ),
    "a bulk value in a sequence": (
        file(sequence(0x00081140, item(element(0x00291001, "OB", bytes(100))))),
        file(sequence(0x00081140, item(element(0x00291001, "OB", bytes(100)))), element(0x00280010, "US", b"\1\0")),
    ),
    "something to warn of": (
        file(element(0x00280010, "US", b"\1")),
        file(element(0x00280010, "US", b"\1"), element(0x00280011, "US", b"\1\0")),
    ),
    "something to warn of in a sequence": (
        file(sequence(0x00081140, item(element(0x00280010, "US", b"\1")))),
        file(sequence(0x00081140, item(element(0x00280010, "US", b"\1"))), element(0x00280011, "US", b"\1\0")),
    ),
}


@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS.keys())
def test_what_is_remembered_changes_nothing(first: bytes, second: bytes) -> None:
    for data in (first, second, first, second):
        assert quickly(data) == thoroughly(data)


def test_other_limits_and_other_uris_are_other_memories() -> None:
    data = file(element(0x00291001, "OB", bytes(100)))
    for rules in (RULES, Rules(Limits(), "elsewhere/{}".format), Rules(Limits(maximum_inline_private_length=100), str)):
        assert quickly(data, rules) == thoroughly(data, rules)


def test_the_memory_is_used_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int] = []

    def counting(tag: int, vr: str, value: bytes, sets: CharacterSets, rules: Rules) -> Converted:
        converted.append(tag)
        return convert(tag, vr, value, sets, rules)

    monkeypatch.setattr(explicit_le, "convert", counting)
    quickly(declared(b"ISO_IR 100"))
    assert len(converted) == 5
    quickly(declared(b"ISO_IR 100"))
    assert len(converted) == 5

    monkeypatch.setattr(explicit_le, "_MEMORY_BYTES", 20_000)
    for number in range(1000):
        quickly(file(element(0x00100020, "LO", b"%04d" % number)))
        assert explicit_le._memory.size <= 20_000
    remembered = sum(len(table) for table in explicit_le._memory.tables.values())
    assert 0 < remembered < 1000


def test_a_single_file_does_not_outgrow_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explicit_le, "_MEMORY_BYTES", 20_000)
    table = explicit_le._memory.table(DEFAULT_REPERTOIRE, RULES)
    quickly(file(*(element(0x00191000 + number, "LO", b"%04d" % number) for number in range(1000))))
    assert len(table) < 50


def test_remembered_sequences_count_in_full() -> None:
    """Otherwise the caps would depend on what came before."""
    inner = sequence(0x00081140, item(element(0x00080100, "SH", b"AB"), element(0x00080102, "SH", b"AB")))
    deep = Rules(Limits(maximum_depth=2), str)
    quickly(file(sequence(0x00081140, item(inner))), deep)
    assert explicit_le.read(file(sequence(0x00081140, item(sequence(0x00081140, item(inner))))), OFFSET, deep) is None
    many = Rules(Limits(maximum_elements=12), str)
    quickly(file(inner), many)
    quickly(file(inner), many)
    assert explicit_le.read(file(sequence(0x00081140, *[item(inner)] * 3)), OFFSET, many) is None


ODDITIES: dict[str, Callable[[], bytes]] = {
    "a public UN": lambda: file(element(0x00200013, "UN", b"12")),
    "an unknown VR": lambda: file(element(0x00200013, "ZZ", b"12")),
    "a delimiter's group": lambda: file() + element(0xFFFEFFFC, "OB", b"12"),
    "tags out of order": lambda: file() + element(0x00080008, "CS", b"A "),
    "a tag twice": lambda: file() + element(0x0020000E, "UI", b"1\0"),
    "a value that is cut": lambda: file(element(0x00200013, "IS", b"12", length=4)),
    "a header that is cut": lambda: file()[:-9],
    "items that don't fill their sequence": lambda: file(element(0x00081140, "SQ", item() + bytes(4))),
    "an item longer than its sequence": lambda: file(
        element(0x00081140, "SQ", item(element(0x00080100, "SH", b"AB"))[:-1])
    ),
    "an item whose last element is longer": lambda: file(
        sequence(0x00081140, item(element(0x00080100, "SH", b"AB", length=10)))
    ),
    "an item that ends after its sequence": lambda: file(
        element(0x00081140, "SQ", item(undefined=True), length=len(item(undefined=True)) - 4)
    ),
    "character sets in items": lambda: file(sequence(0x00080005, item())),
    "a group length in items": lambda: file(sequence(0x00100000, item())),
    "trailing padding in items": lambda: file() + sequence(0xFFFCFFFC, item()),
    "pixels of an icon in items": lambda: file(sequence(0x00880200, item(sequence(0x7FE00010, item())))),
    "an undefined length elsewhere": lambda: file(element(0x00291001, "OB", b"", length=0xFFFFFFFF)),
}


@pytest.mark.parametrize("oddity", ODDITIES.values(), ids=ODDITIES.keys())
def test_oddities_are_declined(oddity: Callable[[], bytes]) -> None:
    assert explicit_le.read(oddity(), OFFSET, RULES) is None


def test_a_declined_file_is_read_all_the_same() -> None:
    instance = read(ODDITIES["tags out of order"](), Limits(), str)
    assert instance.attributes.text("00080008") == "A"
