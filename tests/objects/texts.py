"""Every Specific Character Set (PS3.3 C.12.1.1.2) with names of people who write in it, and some that aren't one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from tests.objects.made import Object, encode, grey, image, native, with_pixels, write


@dataclass(frozen=True, slots=True)
class Text:
    """A name in a character set.

    Attributes:
        declared: Specific Character Set (0008,0005), with backslashes.
        stored: the bytes of Patient's Name.
        name: what they say; the component groups apart by "=".
        warns: whether the receipt says that it couldn't be read as it was meant.
    """

    declared: str
    stored: bytes
    name: str
    warns: bool = False


_LATIN = {
    "ISO_IR 100": ("Müller^Jürgen", "iso8859-1"),
    "ISO_IR 101": ("Dvořák^Antonín", "iso8859-2"),
    "ISO_IR 109": ("Ĉapek^Ĝoĉjo", "iso8859-3"),
    "ISO_IR 110": ("Bērziņš^Jānis", "iso8859-4"),
    "ISO_IR 144": ("Жданов^Илья", "iso8859-5"),
    "ISO_IR 127": ("قباني^نزار", "iso8859-6"),
    "ISO_IR 126": ("Διονυσιος^Νίκος", "iso8859-7"),
    "ISO_IR 138": ("שרון^דבורה", "iso8859-8"),
    "ISO_IR 148": ("Çavuşoğlu^Şebnem", "iso8859-9"),
    "ISO_IR 203": ("Lefèvre^Œdipe", "iso8859-15"),
    "ISO_IR 13": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "shift_jis"),
    "ISO_IR 166": ("นามสกุล^ชื่อ", "tis-620"),
}


def texts() -> dict[str, Text]:
    """All of them, by a short name."""
    found = {"default repertoire": Text("", b"Doe^Jane", "Doe^Jane")}
    for term, (name, codec) in _LATIN.items():
        found[term] = Text(term, name.encode(codec), name)
        extended = term.replace("ISO_IR", "ISO 2022 IR")
        found[extended] = Text(extended, name.encode(codec), name)
        if term != "ISO_IR 13":  # whose first byte set is JIS X 0201's, not ASCII
            second = f"\\{extended}"
            found[f"{extended} after the default"] = Text(second, _switched(name, extended, codec), name)
    found |= {
        "ISO 2022 IR 6": Text("ISO 2022 IR 6", b"Doe^Jane", "Doe^Jane"),
        "ISO_IR 192": Text("ISO_IR 192", "Wáng^小东=山田^太郎".encode(), "Wáng^小东=山田^太郎"),
        "GB18030": Text("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        "GBK": Text("GBK", "Wang^XiaoDong=王^小东".encode("gbk"), "Wang^XiaoDong=王^小东"),
        "ISO 2022 IR 87": Text(
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        "ISO 2022 IR 13 and 87": Text(
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("shift_jis") + b"\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        "ISO 2022 IR 159": Text(
            "\\ISO 2022 IR 87\\ISO 2022 IR 159",
            b"Maruo^Suekichi=" + "丂".encode("iso2022_jp_2") + b"^\x1b$B;3\x1b(B",
            "Maruo^Suekichi=丂^山",
        ),
        "ISO 2022 IR 149": Text(
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        "ISO 2022 IR 58": Text(
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
            "Zhang^XiaoDong=张^小东",
        ),
        "two sets and Greek": Text(
            "ISO 2022 IR 100\\ISO 2022 IR 126",
            b"M\xfcller^J\xfcrgen=\x1b-F" + "Νίκος".encode("iso8859-7"),
            "Müller^Jürgen=Νίκος",
        ),
        "unknown set": Text("ISO_IR 999", b"M\xfcller^J\xfcrgen", "", warns=True),
        "undeclared": Text("", "Müller^Jürgen".encode(), "Müller^Jürgen", warns=True),
    }
    return found


def _switched(name: str, term: str, codec: str) -> bytes:
    """Each component after its escape sequence: the default repertoire returns at every delimiter (PS3.5 6.1.2.5.3)."""
    escape = _ESCAPES[term]
    return b"^".join(escape + component.encode(codec) for component in name.split("^"))


_ESCAPES = {
    "ISO 2022 IR 100": b"\x1b-A",
    "ISO 2022 IR 101": b"\x1b-B",
    "ISO 2022 IR 109": b"\x1b-C",
    "ISO 2022 IR 110": b"\x1b-D",
    "ISO 2022 IR 144": b"\x1b-L",
    "ISO 2022 IR 127": b"\x1b-G",
    "ISO 2022 IR 126": b"\x1b-F",
    "ISO 2022 IR 138": b"\x1b-H",
    "ISO 2022 IR 148": b"\x1b-M",
    "ISO 2022 IR 203": b"\x1b-b",
    "ISO 2022 IR 166": b"\x1b-T",
}


def objects(directory: Path) -> Iterator[Object]:
    frame = grey("u1")[:32, :32]
    for kind, text in texts().items():
        name = f"text/{kind}"
        made = with_pixels(image(name, SecondaryCaptureImageStorage, "OT", [frame]), native([frame]))
        yield write(directory, name, _named(made, text), frames=(frame,))


def _named(made: Dataset, text: Text) -> bytes:
    """The file with these very bytes as Patient's Name and character set, whatever pydicom thinks of them."""
    made.SpecificCharacterSet = "ISO_IR 6"
    made.PatientName = "PLACE^HOLDER"
    data = encode(made)
    declared = _element(b"\x08\x00\x05\x00CS", text.declared.encode()) if text.declared else b""
    data = data.replace(_element(b"\x08\x00\x05\x00CS", b"ISO_IR 6"), declared)
    return data.replace(_element(b"\x10\x00\x10\x00PN", b"PLACE^HOLDER"), _element(b"\x10\x00\x10\x00PN", text.stored))


def _element(head: bytes, value: bytes) -> bytes:
    """An element of Explicit VR Little Endian with a short length."""
    padded = value + b" " * (len(value) % 2)
    return head + len(padded).to_bytes(2, "little") + padded
