"""What a study's record files and packs say, and what is wrong with them."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from staticwado_daemon.archive import gzipped, holdings, record
from staticwado_daemon.archive.record import Held
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.verify import packs
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.reading import Reader, Unreadable

_RECORD_FILE = re.compile(r"([0-9a-f]{64})\.gz")
_PACK = re.compile(r"([0-9a-f]{64})\.pack\.gz")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The records of a study as far as they can be read.

    Attributes:
        study: whose they are.
        held: all of them and the tombstones, those that later ones have taken the place of included.
        remainders: the pack of each remainder, by the remainder's SHA-256.
        findings: what is wrong with the files.
    """

    study: UID
    held: tuple[Held, ...]
    remainders: Mapping[str, str]
    findings: tuple[Finding, ...]


def read(reader: Reader, study: UID) -> Recorded:
    """Read a study's record files and packs; FileNotFoundError if one went away meanwhile."""
    findings: list[Finding] = []
    held: list[Held] = []
    remainders: dict[str, str] = {}
    for path in holdings.record_files(reader.root, study):
        held.extend(_held(reader, study, path, findings))
    for path in holdings.pack_files(reader.root, study):
        remainders |= dict.fromkeys(_remainders(reader, study, path, findings), path)
    return Recorded(study, tuple(held), remainders, tuple(findings))


def _held(reader: Reader, study: UID, path: str, findings: list[Finding]) -> Iterator[Held]:
    named = _RECORD_FILE.fullmatch(path.rpartition("/")[2])
    if named is None:
        findings.append(Finding("file_orphaned", path, study))
        return
    try:
        data = reader.read(path)
        digest = hashlib.sha256(gzipped.unpack(data, gzipped.LONGEST)).hexdigest()
        found = list(record.from_file(data))
    except (Corrupt, Unreadable) as why:
        findings.append(Finding("record_unreadable", path, study, detail=str(why)))
        return
    if digest != named[1]:
        # gzip's own check held, so somebody wrote this: what it says is still better than nothing.
        findings.append(Finding("record_misnamed", path, study))
    for each in found:
        if each.identity.study == study:
            yield each
        else:
            findings.append(Finding("record_misnamed", path, study, detail="it speaks of another study"))


def _remainders(reader: Reader, study: UID, path: str, findings: list[Finding]) -> Iterator[str]:
    """The digests of the remainders in a pack that are what the pack says."""
    named = _PACK.fullmatch(path.rpartition("/")[2])
    if named is None:
        findings.append(Finding("file_orphaned", path, study))
        return
    try:
        digest, held = packs.look_through(reader, path)
    except (Corrupt, Unreadable) as why:
        findings.append(Finding("pack_damaged", path, study, detail=str(why)))
        return
    if digest != named[1]:
        findings.append(Finding("pack_damaged", path, study, detail="it has another SHA-256 than its name says"))
    yield from held
