"""Lines of an nginx configuration: blocks, quoted words, headers by variables."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from staticwado_daemon.errors import ConfigError


def add_headers(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Directives that send headers; a value that begins with a dollar sign is a variable."""
    for name, value in headers:
        # Without "always" a header is sent with good answers only: nobody may keep a 404.
        always = "" if name == "Cache-Control" else " always"
        yield f"add_header {name} {value if value.startswith('$') else quote(value)}{always};"


def set_variables(headers: Mapping[str, str]) -> Iterator[str]:
    """Directives that set the variables of headers."""
    return (f"set {variable(name)} {quote(value)};" for name, value in headers.items())


def variable(header: str) -> str:
    """The variable in which a header's value is kept."""
    return "$" + header.lower().replace("-", "_")


def with_variables(path: str) -> str:
    """A path of the table with nginx variables for its placeholders: those that the location's pattern sets."""
    return "/" + re.sub(r"\{(\w+)\}", r"$\1", path)


def block(head: str, lines: Iterable[str]) -> Iterator[str]:
    """A block of directives."""
    yield f"{head} {{"
    yield from indented(lines)
    yield "}"


def when(condition: str, lines: Iterable[str]) -> Iterator[str]:
    """Directives that count only under a condition."""
    return block(f"if ({condition})", lines)


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Lines of a block."""
    return (f"  {line}" for line in lines)


def absolute(path: Path) -> str:
    """An absolute path as nginx reads it.

    Raises:
        ConfigError: if it has a character that nginx has no way to write.
    """
    text = str(path.absolute())
    if re.search(r"[$\x00-\x1f]", text):
        raise ConfigError(f"nginx can't serve {text!r}: its name has a dollar sign or a control character")
    return quote(text)


def quote(text: str) -> str:
    """Text as one word of the configuration; a backslash is doubled only where nginx would swallow it."""
    kept = re.sub(r"\\(?=[\"'\\trn]|$)", r"\\\\", text)
    return '"' + kept.replace('"', r"\"") + '"'
