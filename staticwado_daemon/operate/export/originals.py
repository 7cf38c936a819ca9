"""The original files of a tree's instances, piece by piece, and compared with their digests at the end."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from weakref import WeakSet

from staticwado_daemon.archive import gzipped, holdings, layout, restore
from staticwado_daemon.archive.pack import from_pack
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.source_frames import StoredFile, stored_in
from staticwado_daemon.dicom.data_set import Buffer, pieces
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.export.selection import Version

HELD_BYTES = 256 << 20
"""So many bytes of remainders are kept for the next instances, which usually find theirs in the same pack.

All who give back at the same time share them; but each keeps the pack that it was asked about last.
"""

_NO_MORE = "what was stored no longer gives the original file; run `staticwado verify`"

Piece = bytes | memoryview
Reconstruct = Callable[[Record, Callable[[str], Buffer]], bytes]


def lacks_original(record: Record) -> str | None:
    """Why there is no original of a record; None if there is one."""
    if record.is_exact:
        return None
    if record.source_transfer_syntax:
        return "stored lossy, so the original can't be given back"
    return "adopted from static-wado, which doesn't keep originals"


class Originals:
    """Gives back the original files of one tree; nothing is written, so a daemon may be at work meanwhile.

    Several threads may ask at once.

    Args:
        root: of the tree.
        reconstruct: makes a file of what is stored, of a record and what reads its blobs, where there is no original;
            None if that isn't wanted.
    """

    def __init__(self, root: Path, reconstruct: Reconstruct | None = None) -> None:
        self._root = root
        self._reconstruct = reconstruct
        self._remainders = _Remainders(root)

    def pieces(self, version: Version) -> Generator[Piece, None, None]:
        """The original file of a version, one frame at a time at most.

        Raises:
            Corrupt: at the latest after the last piece, if this isn't the file that came in.
            OSError: if something can't be read.
        """
        if why := self.lacks(version):
            if not self._reconstruct:
                raise Corrupt(f"{why}; --reconstruct makes a file of what is stored")
            yield self._reconstruct(version.record, self._reader(version))
            return
        digest = hashlib.sha256()
        try:
            for piece in self._rebuilt(version):
                digest.update(piece)
                yield piece
        except ValueError as error:  # a codec's word for damage
            raise Corrupt(_NO_MORE) from error
        if digest.hexdigest() != version.record.source:
            raise Corrupt(_NO_MORE)

    def lacks(self, version: Version) -> str | None:
        """Why there is no original of a version; None if there is one, be it that it was kept whole."""
        why = lacks_original(version.record)
        return None if why and self._kept_whole(version.record).exists() else why

    def _kept_whole(self, record: Record) -> Path:
        return self._root / layout.original(record.content, record.source)

    def _rebuilt(self, version: Version) -> Iterable[Piece]:
        """The original from its frames and remainder, or, where that is lost, as it may have been kept whole."""
        record = version.record
        remainder = self._remainders.get(record) if record.is_exact else None
        if remainder is not None:
            return restore.rebuild(record, remainder, self._reader(version))
        try:
            whole = StoredFile(self._kept_whole(record))
        except FileNotFoundError:
            raise Corrupt("the pack with the file's remainder is missing or damaged; run `staticwado verify`") from None
        return gzipped.unpack_pieces(pieces(whole, [(0, len(whole))]))

    def _reader(self, version: Version) -> Callable[[str], Buffer]:
        """What reads a version's blobs; it may have changed places with another one since its record was read."""
        study = version.record.identity.study
        own = [holdings.place(version.record, published=each) for each in (version.published, not version.published)]
        bulk = [layout.study_dir(study), layout.kept_study_dir(study)]

        def read(name: str) -> Buffer:
            first, second = (stored_in(self._root / place) for place in (bulk if layout.is_bulk(name) else own))
            try:
                return first(name)
            except FileNotFoundError:
                with suppress(FileNotFoundError):
                    return second(name)
                raise

        return read


class _Remainders:
    """The remainders of one study at a time, found by their digests in its packs."""

    _all: ClassVar[WeakSet["_Remainders"]] = WeakSet()

    def __init__(self, root: Path) -> None:
        self._all.add(self)
        self._root = root
        self._lock = threading.Lock()
        self._study: UID | None = None
        self._files: list[str] = []
        self._packs: dict[str, str] = {}
        self._held: OrderedDict[str, dict[str, bytes]] = OrderedDict()

    def get(self, record: Record) -> bytes | None:
        """The remainder of a record; None if no pack has it."""
        study, digest = record.identity.study, record.remainder[0]
        with self._lock:
            if study != self._study:
                self._look(study)
            found = self._find(digest)
            # A daemon may have merged packs since: then there are others now.
            if found is None and self._files != holdings.pack_files(self._root, study):
                self._look(study)
                found = self._find(digest)
            return found

    def _find(self, digest: str) -> bytes | None:
        path = self._packs.get(digest)
        return self._open(path).get(digest) if path else None

    def _look(self, study: UID) -> None:
        self._study = study
        self._files = holdings.pack_files(self._root, study)
        self._packs, self._held = {}, OrderedDict()
        for path in self._files:
            self._packs.update(dict.fromkeys(self._open(path), path))

    def _open(self, path: str) -> dict[str, bytes]:
        """A pack's remainders; nothing if it is damaged or, merged into another one, gone."""
        held = self._held.pop(path, None)
        if held is None:
            try:
                held = dict(from_pack((self._root / path).read_bytes()))
            except (Corrupt, FileNotFoundError):
                held = {}
        self._held[path] = held
        while len(self._held) > 1 and self._size() > HELD_BYTES // len(self._all):
            self._held.popitem(last=False)
        return held

    def _size(self) -> int:
        return sum(len(each) for held in self._held.values() for each in held.values())
