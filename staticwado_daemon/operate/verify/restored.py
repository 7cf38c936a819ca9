"""Whether originals come back byte for byte from what is stored."""

from collections.abc import Container, Iterable, Iterator, Mapping

from staticwado_daemon.archive import restore
from staticwado_daemon.archive.pack import from_pack
from staticwado_daemon.archive.source_frames import may_be_long
from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.verify.blobs import Placed
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.reading import Reader, Unreadable


def check(reader: Reader, versions: Iterable[Placed], packs: Mapping[str, str]) -> Iterator[Finding]:
    """Which of these versions don't give their originals.

    Args:
        reader: of the tree.
        versions: whose files are all there.
        packs: in which pack each remainder is, by digest; those without one are passed over.
    """
    by_pack: dict[str, list[Placed]] = {}
    for each in versions:
        if pack := packs.get(each.version.remainder[0]):
            by_pack.setdefault(pack, []).append(each)
    for pack, members in by_pack.items():
        held = remainders(reader, pack, {each.version.remainder[0] for each in members})
        for each in members:
            if not _gives(reader, each, held[each.version.remainder[0]]):
                identity = each.version.identity
                yield Finding("not_restorable", each.directory, identity.study, identity, each.version.content)


def remainders(reader: Reader, pack: str, wanted: Container[str] | None) -> dict[str, bytes]:
    """Those remainders of a pack that are wanted, by their digests; all of them where it isn't known which."""
    return {digest: data for digest, data in from_pack(reader.read(pack)) if wanted is None or digest in wanted}


def pieces(reader: Reader, each: Placed, remainder: bytes) -> Iterator[bytes | memoryview]:
    """The original of a version, piece by piece: whoever takes them compares the whole with the record's digest.

    Raises:
        Corrupt, Unreadable, ValueError, FileNotFoundError: if it can't be made from what is there.
    """
    paths = {blob.path: each.path(blob, reader.root) for blob in each.version.blobs}

    def read(name: str) -> Buffer:
        return reader.sliced(paths[name]) if may_be_long(name) else reader.read(paths[name])

    return restore.rebuild(each.version, remainder, read)


def _gives(reader: Reader, each: Placed, remainder: bytes) -> bool:
    try:
        return restore.matches(each.version.source, pieces(reader, each, remainder))
    except (Corrupt, Unreadable, ValueError):
        return False
