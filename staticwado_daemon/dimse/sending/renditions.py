"""Instances as they are sent: the original where the receiver takes its transfer syntax, uncompressed where not.

What is prepared is compared with the digest of the file that came in before a byte of it leaves. Short objects are held
in memory, longer ones stand in a file without a name, which is gone when it is closed, whatever happens to us.
"""

import shutil
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, TypeAlias

from staticwado_daemon.archive import holdings
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.dicom import part10, uncompressed
from staticwado_daemon.dicom.data_set import Buffer, Limits, Part
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.errors import Corrupt, Ignored, Rejected, Transient
from staticwado_daemon.inbound.content import Content
from staticwado_daemon.operate.adopt import part10 as reconstruction
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version

_Piece: TypeAlias = bytes | memoryview

HELD_BYTES: Final = 16 << 20
"""Objects up to this length are held in memory."""

_CHECKED_BYTES: Final = 64 << 20
"""How much is written between two looks at the room that is left."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """An instance ready to be sent.

    Attributes:
        transfer_syntax: of the data set.
        data_set: without file meta information.
        is_original: the data set is the one that came in, byte for byte.
    """

    transfer_syntax: str
    data_set: Buffer
    is_original: bool

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return len(self.data_set) if len(self.data_set) <= HELD_BYTES else 0


class Renditions:
    """Makes renditions of one tree's instances; several threads may ask at once.

    It remembers what it needs for the next instance of the same study: have one for each request.

    Args:
        root: of the tree; nothing is written there.
        directory: for what is too long to be held; nothing in it ever has a name.
        minimum_free: bytes that are left free on the disk of the directory.
    """

    def __init__(self, root: Path, directory: Path, minimum_free: int) -> None:
        self._root = root
        self._directory = directory
        self._minimum_free = minimum_free
        self._originals = Originals(root, reconstruction.rebuild)
        self._lock = threading.Lock()
        self._study: UID | None = None
        self._versions: dict[tuple[Identity, str], Version] = {}

    def prepare(
        self, chosen: Chosen, accepted: Collection[str], is_given_up: Callable[[], bool] = lambda: False
    ) -> Rendition:
        """Make the rendition that a receiver takes.

        Args:
            chosen: the instance.
            accepted: Transfer Syntax UIDs that the receiver takes for its SOP class.
            is_given_up: asked now and then whether nobody wants it any more.

        Raises:
            Corrupt: if the receiver takes nothing that the instance can be given as, or what is stored is damaged.
            Transient: if the disk is full, or nobody wants it any more.
            OSError: if something can't be read or written.
        """
        if not accepted:
            raise Corrupt("the receiver doesn't accept its SOP class")
        write = partial(self._written, is_given_up=is_given_up)
        try:
            version, file = self._original(chosen, write)
        except (Corrupt, FileNotFoundError):
            # The tree's writer merges packs and moves what is superseded: what was known may be of before that.
            self._forget()
            version, file = self._original(chosen, write)
        is_original = self._originals.lacks(version) is None
        syntax = chosen.transfer_syntax if is_original else _transfer_syntax(file)
        if syntax in accepted:
            start = part10.data_set_offset(file)
            return Rendition(syntax, Part(file, start, len(file) - start), is_original)
        for other in uncompressed.SYNTAXES:
            if other in accepted:
                return Rendition(other, write(uncompressed.data_set(file, other)), is_original=False)
        raise Corrupt("the receiver accepts neither its transfer syntax nor an uncompressed one")

    def _original(self, chosen: Chosen, write: Callable[[Iterable[_Piece]], Buffer]) -> tuple[Version, Buffer]:
        """The file that came in, compared with its digest; or one of the same content where that isn't kept."""
        version = self._version(chosen)
        return version, write(self._originals.pieces(version))

    def _version(self, chosen: Chosen) -> Version:
        with self._lock:
            if chosen.identity.study != self._study:
                self._look(chosen.identity.study)
            version = self._versions.get((chosen.identity, chosen.content))
        if version is None:
            raise Corrupt("it was removed meanwhile")
        return version

    def _look(self, study: UID) -> None:
        """Read the records of a study, once for all of its instances."""
        self._versions = {
            (identity, record.content): Version(record, published=record is known.winner)
            for identity, known in merge(holdings.held(self._root, study)).items()
            for record in known.visible
        }
        self._study = study

    def _forget(self) -> None:
        with self._lock:
            self._study = None
            self._originals = Originals(self._root, reconstruction.rebuild)

    def _written(self, pieces: Iterable[_Piece], is_given_up: Callable[[], bool]) -> Buffer:
        """All the pieces as one buffer, in memory or in a file without a name."""
        held: list[_Piece] = []
        length = 0
        rest = iter(pieces)
        for piece in rest:
            held.append(piece)
            length += len(piece)
            if length > HELD_BYTES:
                break
        else:
            return b"".join(held)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have removed it
        with ExitStack() as stack:
            file = stack.enter_context(TemporaryFile(dir=self._directory))
            self._check_room()
            file.writelines(held)
            held.clear()
            checked = 0
            for piece in rest:
                if is_given_up():
                    raise Transient("nobody waits for it any more")
                length += file.write(piece)
                if length - checked > _CHECKED_BYTES:
                    checked = length
                    self._check_room()
            file.flush()
            stack.pop_all()
        return _InFile(file, length)

    def _check_room(self) -> None:
        if shutil.disk_usage(self._directory).free < self._minimum_free:
            raise Transient("there is too little room on the disk for what is sent")


class _InFile(Content):
    """The content of a file without a name, which is open for as long as this is."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__(file.fileno(), size)
        self._file = file


def _transfer_syntax(file: Buffer) -> str:
    try:
        return part10.read(file, Limits(), str).transfer_syntax_uid
    except (Rejected, Ignored) as why:
        raise Corrupt(str(why)) from why
