"""What a worker answers, on its way through the pipe: values, and nothing that could act.

A pickle can name any function for its reader to call. A worker that a hostile file has taken over would so become the
main process, which nothing confines. Hence only the few classes of values that answers consist of are read, and
what they say is compared with what was asked.
"""

import io
import pathlib
import pickle
from collections.abc import Sequence
from typing import Final, TypeAlias

from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline.staged import Staged, Unfinished

Result: TypeAlias = Staged | Receipt | Unfinished

_VALUES: Final = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (Blob, Identity, Receipt, Record, Source, Staged, Stamp, UID, Unfinished, type(pathlib.Path()))
}


def pack(results: Sequence[Result]) -> bytes:
    """Serialise the results of one task."""
    return pickle.dumps(list(results), pickle.HIGHEST_PROTOCOL)


def unpack(answer: bytes, sources: Sequence[Source], directory: pathlib.Path) -> list[Result]:
    """Read what `pack` made.

    Args:
        answer: from a worker that isn't trusted.
        sources: of the task.
        directory: of the task; each of its instances is staged in one that is named by its place in `sources`.

    Raises:
        Corrupt: if it isn't one result for each of these sources, staged where they belong.
    """
    try:
        results = _ValueReader(io.BytesIO(answer)).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise Corrupt("a worker's answer can't be read") from error
    if not isinstance(results, list) or len(results) != len(sources):
        raise Corrupt("a worker's answer doesn't match its task")
    for number, (result, source) in enumerate(zip(results, sources, strict=True)):
        if not _belongs(result, source, directory / str(number)):
            raise Corrupt("a worker's answer doesn't match its task")
    return results


class _ValueReader(pickle.Unpickler):
    """Knows the classes of answers, and no other name."""

    def find_class(self, module_name: str, global_name: str) -> type:
        try:
            return _VALUES[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is no value of an answer") from None


def _belongs(result: object, source: Source, directory: pathlib.Path) -> bool:
    """Whether a result speaks of this source, and of files below this directory only."""
    match result:
        case Staged():
            names = [*result.bulk, *(blob.path for blob in result.record.blobs)]
            return result.source == source and result.directory == directory and all(map(_is_below, names))
        case Receipt():
            return result.path == source.path and result.stamp == source.stamp
        case _:
            return isinstance(result, Unfinished)


def _is_below(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")
