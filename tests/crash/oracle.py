"""What must be true of a tree, whatever happened on the way there."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from staticwado_daemon.archive import layout, multipart, record, restore
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.pack import from_pack
from staticwado_daemon.archive.record import Held
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, with its bytes."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """What distinguishes two trees, by name."""
    return [
        f"{'missing' if name not in found else 'additional' if name not in expected else 'different'}: {name}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]


def records(root: Path) -> set[Held]:
    """The records and tombstones, however they are grouped into files."""
    return set(_records(root))


def originals(root: Path) -> Counter[bytes]:
    """The source of every version of every instance, rebuilt from what the archive holds: losers from the kept ones."""
    packs = (path.read_bytes() for path in (root / layout.RESTORE).rglob("*.gz"))
    remainders = dict(each for pack in packs for each in from_pack(pack))
    found: Counter[bytes] = Counter()
    for identity, versions in merge(_records(root)).items():
        for version in versions.records:
            place = layout.kept_dir(identity, version.content)
            directory = root / (layout.instance_dir(identity) if version is versions.winner else place)
            pieces = restore.rebuild(
                version, remainders[version.remainder[0]], partial(_read, root, directory, identity.study)
            )
            found[b"".join(pieces)] += 1
    return found


def _read(root: Path, directory: Path, study: UID, name: str) -> bytes:
    """One blob of a version whose own files stand in a directory; bulk data are the study's, served or kept."""
    if not layout.is_bulk(name):
        return (directory / name).read_bytes()
    places = (root / home / name for home in (layout.study_dir(study), layout.kept_study_dir(study)))
    return next(place for place in places if place.exists()).read_bytes()


def _records(root: Path) -> Iterator[Held]:
    for name in ("deduplicated", "instances"):
        for path in sorted((root / name).rglob("*.gz")):
            yield from record.from_file(path.read_bytes())


def leftovers(root: Path) -> list[str]:
    """What is unfinished: there is nothing once all is written."""
    return [str(path) for private in (layout.STAGING, layout.DIRTY) for path in (root / private).rglob("*")]


def unreadable(directory: Path) -> list[str]:
    """The files below a directory that aren't what their names say, each with the reason."""
    reasons = ((path, _fault(path)) for path in sorted(directory.rglob("*")) if path.is_file())
    return [f"{path}: {reason}" for path, reason in reasons if reason]


def _fault(path: Path) -> str | None:
    data = path.read_bytes()
    try:
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        if ".mht" in path.suffixes:
            multipart.unwrap(data)
        if ".json" in path.suffixes or path.name == layout.METADATA:
            json.loads(data)
    except (OSError, EOFError, ValueError, zlib.error, Corrupt) as why:
        return repr(why)
    return None
