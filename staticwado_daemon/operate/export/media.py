"""The export as a medium: a folder with a DICOMDIR (PS3.10 section 8, PS3.11 annexes D and H), to be burnt or sent.

pydicom's FileSet makes the DICOMDIR and decides the File IDs (PT000000/ST000000/SE000000/IM000000), from stand-ins that
hold the attributes that a directory record may ask for, and nothing else. The files that take their places are the
originals, byte for byte.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileInstance, FileSet

from staticwado_daemon.dicom.raw_elements import FAULTS
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.operate.export.files import Exported, done, failed, make_private
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Named

_KEYS = (
    "SpecificCharacterSet SOPClassUID SOPInstanceUID InstanceCreationDate InstanceCreationTime StudyDate ContentDate "
    "StudyTime ContentTime AccessionNumber Modality Manufacturer StudyDescription ConceptNameCodeSequence "
    "ReferencedSeriesSequence ReferencedImageEvidenceSequence BlendingSequence PatientName PatientID StudyInstanceUID "
    "SeriesInstanceUID StudyID SeriesNumber InstanceNumber NumberOfFrames Rows Columns DataPointRows DataPointColumns "
    "CompletionFlag VerificationFlag VerificationDateTime ContentSequence ImageType EncapsulatedDocument DocumentTitle "
    "MIMETypeOfEncapsulatedDocument HL7InstanceIdentifier ContentLabel ContentDescription ContentCreatorName "
    "PresentationCreationDate PresentationCreationTime DoseSummationType StructureSetLabel StructureSetDate "
    "StructureSetTime RTPlanLabel RTPlanDate RTPlanTime TreatmentDate TreatmentTime UserContentLabel "
    "UserContentLongLabel"
).split()
"""What directory records are made of (PS3.3 F.5)."""

_STAND_INS = {
    "StudyDate": "19000101",
    "StudyTime": "000000",
    "ContentDate": "19000101",
    "ContentTime": "000000",
    "StudyID": "1",
    "SeriesNumber": "1",
    "InstanceNumber": "1",
    "Modality": "OT",
    "PresentationCreationDate": "19000101",
    "PresentationCreationTime": "000000",
    "InstanceCreationDate": "19000101",
    "CompletionFlag": "PARTIAL",
    "VerificationFlag": "UNVERIFIED",
    "ContentLabel": "UNNAMED",
    "StructureSetLabel": "UNNAMED",
    "DoseSummationType": "PLAN",
    "MIMETypeOfEncapsulatedDocument": "application/octet-stream",
}
"""What a directory record must say and an instance may leave out; the file itself stays as it is."""


_UNLISTED = "can't be listed in a DICOMDIR: export it without --dicomdir"


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file that has its directory records, and waits for its place."""

    named: Named
    instance: FileInstance
    waiting: Path


def to_medium(originals: Originals, chosen: Iterable[Named], directory: Path) -> Iterator[Exported]:
    """Write a medium into `directory`, which is new or empty, and appears as a whole.

    Raises:
        Corrupt: if something is there already.
        OSError: if it can't be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Corrupt(f"{directory} is there already and isn't empty: name another folder")
    make_private(directory.parent)
    part = Path(tempfile.mkdtemp(".part", f".{directory.name}.", directory.parent))
    try:
        files = _Growing()
        listed: dict[str, _Listed] = {}
        for number, each in enumerate(chosen):
            path = part / str(number)
            try:
                _require_first(each, listed)
                _write(originals, each, path)
                listed[each.version.record.identity.instance] = _Listed(each, _add(files, path), path)
            except (Corrupt, OSError, Rejected) as why:
                path.unlink(missing_ok=True)
                yield failed(each, why)
        if listed:
            for each, path in _assemble(files, [*listed.values()], part / "medium", directory):
                yield done(originals, each, path, path.stat().st_size)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_first(chosen: Named, listed: Mapping[str, _Listed]) -> None:
    if chosen.version.record.identity.instance in listed:
        raise Rejected("another instance of this UID is on the medium: export it to a medium of its own")


def _write(originals: Originals, chosen: Named, path: Path) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        for piece in originals.pieces(chosen.version):
            file.write(piece)


class _Growing(FileSet):
    """A file set that doesn't look through all its instances for each new one: `to_medium` knows their UIDs."""

    complete = False

    def __iter__(self) -> Iterator[FileInstance]:
        return super().__iter__() if self.complete else iter(())


def _add(files: _Growing, path: Path) -> FileInstance:
    """Make a file's directory records.

    Raises:
        Rejected: if it can't be on a medium.
    """
    try:
        return files.add(_stand_in(path))
    except ValueError:  # an attribute is missing for which there is no stand-in
        raise Rejected(_UNLISTED) from None


def _assemble(files: _Growing, listed: Sequence[_Listed], medium: Path, directory: Path) -> list[tuple[Named, Path]]:
    """Have the DICOMDIR written, put the originals in the places of their stand-ins, and give the whole its name."""
    sources = "".join(each.named.version.record.source for each in listed)
    files.UID = uid.UID(f"2.25.{int(hashlib.sha256(sources.encode()).hexdigest()[:32], 16)}")
    file_ids = [each.instance.FileID for each in listed]
    medium.mkdir(mode=0o700)
    files.complete = True
    files.write(medium)
    for each, file_id in zip(listed, file_ids, strict=True):
        each.waiting.rename(medium / file_id)
    try:
        medium.rename(directory)
    except OSError:
        raise Corrupt(f"{directory} has come to be there meanwhile: name another folder") from None
    return [(each.named, directory / file_id) for each, file_id in zip(listed, file_ids, strict=True)]


def _stand_in(path: Path) -> Dataset:
    """What of a file its directory records are made of.

    Raises:
        Rejected: if it can't be on a medium.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*_KEYS])
        stand_in = _completed(header)
        stand_in.file_meta = FileMetaDataset()
        stand_in.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
        # Whether it can be written: a file set that fails to is no good any more.
        stand_in.save_as(BytesIO(), enforce_file_format=True)
    except FAULTS:
        raise Rejected(_UNLISTED) from None
    return stand_in


def _completed(header: Dataset) -> Dataset:
    """A data set with what directory records must have, be it invented."""
    complete = Dataset()
    complete.update({element.tag: element for element in header})
    for keyword, value in _STAND_INS.items():
        if not complete.get(keyword):
            setattr(complete, keyword, value)
    if not complete.get("PatientID"):  # or all patients without an ID would be one
        complete.PatientID = "NONE-" + hashlib.sha256(complete.StudyInstanceUID.encode()).hexdigest()[:12]
    if "EncapsulatedDocument" in complete:
        complete.EncapsulatedDocument = b"\0\0"
    return complete
