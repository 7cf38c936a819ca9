"""Where the original of a damaged instance may still be found: in its file, kept whole, or in what is left of it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import gzipped, layout, multipart, regular
from staticwado_daemon.dicom.data_set import pieces
from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.journal_reader import JournalReader
from staticwado_daemon.inbound.receipt import STORED
from staticwado_daemon.operate import private
from staticwado_daemon.operate.verify import restored
from staticwado_daemon.operate.verify.blobs import Placed
from staticwado_daemon.operate.verify.reading import Reader, Unreadable


@dataclass(frozen=True, slots=True)
class Sources:
    """Finds originals, and proves that it is they: nothing else is put back.

    Attributes:
        reader: of the tree.
        journal: of receipts, if there is one.
        folder: where originals are written that don't stand anywhere as files; see `private.folder`.
    """

    reader: Reader
    journal: JournalReader | None
    folder: Path

    def of(self, wanted: Placed, packs: Iterable[str]) -> Path | None:
        """A file that is the original of a version, whatever its name; None if there is no such file any more.

        Args:
            wanted: whose. Of one that has lost its record the journal must know what the original was.
            packs: in which its remainder may be.

        Raises:
            OSError: if it can't be written, or read now.
        """
        digests = [wanted.version.source] if wanted.version.source else self._received(wanted.version.identity)
        for digest in digests:
            if (found := self._file(wanted.version.identity, digest)) or (found := self._made(wanted, digest, packs)):
                return found
        return None

    def _received(self, identity: Identity) -> list[str]:
        """What the originals of an instance were, the latest first."""
        found = self.journal.find(identity.instance) if self.journal else []
        stored = (each for each in found if each.identity == identity and each.outcome in STORED)
        return list(dict.fromkeys(each.source for each in stored if each.source))

    def _file(self, identity: Identity, source: str) -> Path | None:
        """The file that came in, if it is still there and still the same."""
        for each in self.journal.find(identity.instance) if self.journal else []:
            if each.source == source and _digest(each.path) == source:
                return each.path
        return None

    def _made(self, wanted: Placed, source: str, packs: Iterable[str]) -> Path | None:
        """The original, made of what is left; None if too little is."""
        path = self.folder / f"{source}.dcm"
        if path.exists():
            return path
        for made in self._attempts(wanted, source, packs):
            try:
                private.write(self.reader.root, path, source, made)
            except (Corrupt, Unreadable, ValueError, FileNotFoundError):
                continue
            return path
        return None

    def _attempts(self, wanted: Placed, source: str, packs: Iterable[str]) -> Iterator[Iterable[bytes | memoryview]]:
        yield self._kept_whole(wanted.version.content, source)
        if any(blob.path == layout.FULL_INSTANCE for blob in wanted.version.blobs):
            yield self._whole_object(wanted)
        own = wanted.version.remainder[0]
        for pack in packs:
            try:
                held = restored.remainders(self.reader, pack, {own} if own else None)
            except (Corrupt, Unreadable, FileNotFoundError):
                continue  # damaged, or merged into another one meanwhile
            # Of an instance without a record it isn't known which is its own: only one gives the right digest.
            for remainder in held.values():
                yield restored.pieces(self.reader, wanted, remainder)

    def _kept_whole(self, content: str, source: str) -> Iterator[bytes]:
        root = self.reader.root
        # Of an instance without a record it isn't known which content it is.
        for path in root.glob(layout.original(content or "*", source)):
            whole = self.reader.sliced(str(path.relative_to(root)))
            yield from gzipped.unpack_pieces(pieces(whole, [(0, len(whole))]))
            return

    def _whole_object(self, wanted: Placed) -> Iterator[bytes]:
        whole = self.reader.sliced(f"{wanted.directory}/{layout.FULL_INSTANCE}")
        yield from multipart.unwrap_pieces(gzipped.unpack_pieces(pieces(whole, [(0, len(whole))])))


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file; None if there is none, or none that may be read."""
    try:
        with regular.opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
