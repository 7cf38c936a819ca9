"""Specific Character Set (0008,0005): from stored bytes to text.

PS3.5 section 6.1 and PS3.3 section C.12.1.1.2. pydicom supplies the tables; decoding is done here,
because a daemon wants neither exceptions nor Python warnings for text that has been wrong for twenty
years. Nothing here ever fails: what can't be decoded becomes U+FFFD.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, handled_encodings, python_encoding

TEXT_RESETS: Final = frozenset(b"\r\n\t\f")
"""Control characters after which the initial character set holds again (PS3.5 section 6.1.2.5.3)."""
MULTI_VALUE_RESETS: Final = TEXT_RESETS | frozenset(b"\\")
NAME_RESETS: Final = MULTI_VALUE_RESETS | frozenset(b"^=")

_ESCAPE: Final = b"\x1b"
_ASCII_AGAIN: Final = b"\x1b(B"
"""It speaks of G0 alone: beyond ASCII is what the initial character set has there."""
_SECTIONS: Final = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_DEFAULT: Final = "iso8859"
_LONGEST: Final = 1024
"""Bytes of a value that are looked at: every character set that there is has room in them."""


def _spelling(defined_term: str) -> str:
    """Reduce a defined term to what all its misspellings share ("ISO-IR 100", "iso_ir_100")."""
    return re.sub(r"[\s_-]+", "", defined_term).upper()


_CODECS: Final = {_spelling(term): codec for term, codec in python_encoding.items()} | {
    "UTF8": "UTF8",
    "LATIN1": "latin_1",
    "GB2312": "GB2312",
    "ISO646": _DEFAULT,
    "ASCII": _DEFAULT,
    "ISOIR203": "iso8859_15",
    "ISO2022IR203": "iso8859_15",
}
# Neither pydicom's table nor its decoder knows what Python calls these: Latin-9, and Chinese without its escapes.
_CODECS_BY_ESCAPE: Final = CODES_TO_ENCODINGS | {b"\x1b-b": "iso8859_15", b"\x1b$)A": "gb2312"}
_STAND_ALONE: Final = frozenset(python_encoding[term] for term in STAND_ALONE_ENCODINGS)


@dataclass(frozen=True, slots=True)
class CharacterSets:
    """The character sets in force in a data set or item.

    Attributes:
        codecs: names of Python codecs; the first is in force where no escape sequence says otherwise.
        unknown: the defined terms that nobody knows.
    """

    codecs: tuple[str, ...] = (_DEFAULT,)
    unknown: tuple[str, ...] = ()

    def decode(self, value: bytes, resets: frozenset[int] = MULTI_VALUE_RESETS) -> str:
        """Return the text; `resets` are the bytes after which the first character set holds again."""
        if _ESCAPE not in value:
            return value.decode("ascii") if value.isascii() else self._initial(value)
        if self.codecs[0] in _STAND_ALONE:
            return self._initial(value)
        return "".join(self._section(section, resets) for section in _SECTIONS.findall(value))

    def _initial(self, value: bytes) -> str:
        codec = self.codecs[0]
        if codec == _DEFAULT:
            # Nothing but ASCII is allowed here. What stands here all the same is UTF-8 if it can be
            # (by chance it hardly ever can), and Latin-1, as everyone reads it, if not.
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return value.decode("latin-1")
        return value.decode(codec, "replace")

    def _section(self, section: bytes, resets: frozenset[int]) -> str:
        if not section.startswith(_ESCAPE):
            return self._initial(section)
        escape = section[: 4 if section.startswith((b"\x1b$(", b"\x1b$)")) else 3]
        text = section[len(escape) :]
        if escape == _ASCII_AGAIN:
            return self._initial(text)
        codec = _CODECS_BY_ESCAPE.get(escape)
        if codec is None:
            return self._initial(section)
        if codec in handled_encodings:
            return section.decode(codec, "replace")
        end = next((index for index, byte in enumerate(text) if byte in resets), len(text))
        return text[:end].decode(codec, "replace") + (self._initial(text[end:]) if end < len(text) else "")


DEFAULT_REPERTOIRE: Final = CharacterSets()


def character_sets(value: bytes) -> CharacterSets:
    """Return the character sets named by the value bytes of (0008,0005).

    Misspelt terms are understood; unknown ones are listed and stand for the default repertoire.
    Character sets that allow no code extensions (UTF-8, GB18030, GBK) stand alone or are passed over.
    """
    return _character_sets(value[:_LONGEST])  # nobody has so many, and what is looked up once is kept


@lru_cache(maxsize=256)
def _character_sets(value: bytes) -> CharacterSets:
    terms = [term.strip() for term in value.decode("latin-1").replace("\0", " ").split("\\")]
    codecs = [_CODECS.get(_spelling(term), "") for term in terms]
    unknown = tuple(term for term, codec in zip(terms, codecs, strict=True) if not codec)
    first = codecs[0] or _DEFAULT
    if first in _STAND_ALONE:
        return CharacterSets((first,), unknown)
    extensions = (codec for codec in codecs[1:] if codec and codec not in _STAND_ALONE)
    return CharacterSets((first, *extensions), unknown)
