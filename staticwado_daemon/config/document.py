"""A JSON5 file as values with the line of each key, so that a message can point at its cause.

The json5 package reads the values but forgets where they stood; the second pass over the text, already
known to be well-formed, only has to follow strings, comments and brackets.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staticwado_daemon.errors import ConfigError

KeyPath = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n\u2028\u2029]*|/\*.*?\*/)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<mark>[{}\[\]:,])
      | (?P<word>[^\s{}\[\]:,"'/]+)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Document:
    """One configuration file: its values as read, and the line of each key and list item."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """Name the file and the line of `key`, or of the nearest enclosing object that has one."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{self.path}:{self.lines.get(key, 1)}"


def read(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        ConfigError: if it can't be read, isn't UTF-8 text, isn't JSON5, isn't one object, or names a key twice.
    """
    import json5  # noqa: PLC0415  # most commands find no configuration file, and the parser costs 30 ms

    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json5.loads(text)
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path} isn't JSON5: nested too deeply") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} isn't UTF-8 text") from None
    except ValueError as error:
        problem = str(error).replace("<string>:", "line ", 1)
        raise ConfigError(f"{path} isn't JSON5: {problem}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one object {{…}}")
    return Document(path, values, _lines(path, text))


def _lines(path: Path, text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    for key, offset in _positions(text):
        line = text.count("\n", 0, offset) + 1
        if key in lines:
            raise ConfigError(f"{path}:{line}: {spell(key)} appears twice (first on line {lines[key]}): keep one")
        lines[key] = line
    return lines


def _positions(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Yield each key and list item of a well-formed text with its offset, in order."""
    stack: list[str | int] = []  # the current key or index of every open bracket
    last, offset = "", 0  # the latest string or word: a key, if a colon follows
    fresh = False  # whether the next token opens a list item
    for token in _TOKEN.finditer(text):
        kind, lexeme = token.lastgroup, token.group()
        if kind == "comment":
            continue
        if fresh and lexeme != "]":
            yield tuple(stack), token.start()
        fresh = False
        match lexeme if kind == "mark" else "":
            case "{":
                stack.append("")
            case "[":
                stack.append(0)
                fresh = True
            case "}" | "]":
                stack.pop()
            case ",":
                if isinstance(position := stack[-1], int):
                    stack[-1] = position + 1
                    fresh = True
            case ":":
                stack[-1] = _unquoted(last)
                yield tuple(stack), offset
            case _:
                last, offset = lexeme, token.start()


def _unquoted(lexeme: str) -> str:
    if lexeme[0] not in "\"'":
        return lexeme
    return re.sub(r"\\(.)", r"\1", lexeme[1:-1])  # \u escapes in keys lose their line number, nothing else


def spell(key: KeyPath) -> str:
    """Write a key path as people do: `daemonConfig.inbound[0].dir`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")
