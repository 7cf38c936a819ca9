"""How Static DICOMweb spells its binary files, of both converters and of older versions.

Frames and bulk data are one multipart part each, with a boundary of the file's own and with or without a line break
at the end; older bulk data are bare. What is gzipped ends with `.gz`.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from staticwado_daemon.archive import gzipped, regular
from staticwado_daemon.errors import Corrupt

BARE: Final = ("jls", "jpeg", "jll", "jp2", "jxl", "jhc")
"""Extensions of codestreams without a wrapper."""

_ENDINGS: Final = (".mht.gz", ".mht", ".gz", "", *(f".{each}" for each in BARE))
"""Of a frame's file after its number, the one that counts first."""
_FRAME: Final = re.compile(rf"([1-9][0-9]{{0,8}})({'|'.join(map(re.escape, _ENDINGS))})")
_BULK: Final = re.compile(r"bulkdata/([0-9a-f]{2,3})/([0-9a-f]{2})/([0-9a-f]{59,60})")
_MULTIPART: Final = b"--BOUNDARY_"
_BREAK: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A payload with what its wrapper says.

    Attributes:
        transfer_syntax: "" if it says none.
    """

    payload: memoryview
    transfer_syntax: str = ""


def unwrap(data: bytes) -> Part:
    """Take the wrapper off, if there is one.

    Raises:
        Corrupt: if there is half of one.
    """
    if not data.startswith(_MULTIPART):
        return Part(memoryview(data))
    delimiter, _, _ = data[:256].partition(_BREAK)
    start = data.find(_BREAK * 2)
    end = data.rfind(_BREAK + delimiter + b"--")
    if start < 0 or end < start + 2 * len(_BREAK):
        raise Corrupt("the multipart file is cut off")
    head = data[:start].decode("latin-1")
    label = re.search(r"transfer-syntax=\"?([0-9.]+)", head)
    return Part(memoryview(data)[start + 2 * len(_BREAK) : end], label[1] if label else "")


def read_bytes(path: Path, most: int = -1) -> bytes:
    """A file's bytes, not more than `most` if that is given.

    Raises:
        Corrupt: if it isn't a regular file: a link may lead anywhere, and nobody may ever write to a FIFO.
    """
    try:
        with regular.opened(path, follow=False) as file:
            return file.read(most)
    except OSError as error:
        if error.errno in regular.NOT_ONE:
            raise Corrupt(f"{path}: no regular file") from error
        raise


def read(path: Path) -> bytes:
    """A file's bytes, unpacked if it is gzipped.

    Raises:
        Corrupt: naming the file, if it is damaged.
    """
    data = read_bytes(path)
    try:
        return gzipped.unpack(data) if path.suffix == ".gz" else data
    except Corrupt as why:
        raise Corrupt(f"{path}: {why}") from why


def read_part(path: Path) -> Part:
    """What a file holds without its wrappers.

    Raises:
        Corrupt: naming the file, if it is damaged.
    """
    data = read(path)
    try:
        return unwrap(data)
    except Corrupt as why:
        raise Corrupt(f"{path}: {why}") from why


def read_json(path: Path) -> list[Any]:
    """The objects of a JSON file; a single object counts as a list of it.

    Raises:
        Corrupt: naming the file, if it is damaged or holds anything else.
    """
    try:
        value = orjson.loads(read(path))
    except orjson.JSONDecodeError:
        raise Corrupt(f"{path}: not JSON") from None
    objects = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in objects):
        raise Corrupt(f"{path}: not DICOM JSON")
    return [_with_lists(each) for each in objects]


def _with_lists(data_set: dict[str, Any]) -> dict[str, Any]:
    """A data set without what is no attribute; values are in lists."""
    attributes = {tag: each for tag, each in data_set.items() if isinstance(each, dict)}
    lone = {tag: each for tag, each in attributes.items() if not isinstance(each.get("Value"), list | None)}
    return attributes | {tag: {**each, "Value": [each["Value"]]} for tag, each in lone.items()}


def frame_files(directory: Path) -> dict[int, list[Path]]:
    """The files of each frame by its number, the one that counts first."""
    found: dict[int, dict[str, Path]] = {}
    for name in names(directory):
        if (match := _FRAME.fullmatch(name)) and (directory / name).is_file():
            found.setdefault(int(match[1]), {})[match[2]] = directory / name
    return {number: [files[end] for end in _ENDINGS if end in files] for number, files in sorted(found.items())}


def bulk_value(study: Path, uri: str) -> bytes | None:
    """The value behind a BulkDataURI of any kind, found by the digest in it; None if there is none of that digest.

    Args:
        study: directory of the study.
        uri: as the metadata have it, relative to whatever, with any ending.

    Raises:
        Corrupt: naming the file, if it is damaged.
    """
    match = _BULK.search(uri)
    if match is None:
        return None
    directory = study / "bulkdata" / match[1] / match[2]
    for name in names(directory):
        if name.startswith(match[3]) and not name.endswith(".json.gz"):
            value = bytes(read_part(directory / name).payload)
            if "".join(match.groups()) in _digests(value):
                return value
    return None


def _digests(value: bytes) -> Iterator[str]:
    """The names that a value may have: its digest, or the digest of its bytes written as a list of numbers."""
    yield hashlib.sha256(value).hexdigest()
    yield hashlib.sha256(f"[{','.join(map(str, value))}]".encode()).hexdigest()


def names(directory: Path) -> list[str]:
    """What a directory holds, sorted; nothing if there is none."""
    try:
        return sorted(each.name for each in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
