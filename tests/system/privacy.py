"""Patients who are to stay unknown, files that name them, and a spy on all that a daemon shows while it has these."""

import io
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests import corpus
from tests.system.privacy_faults import DEADLY, FAULTY

KINDS = ("good", "odd", "refused", "malformed", "ignored", "incomplete", "conflicting", "faulty", "deadly")
_DEADLY_AT_MOST = 4  # each costs two workers their lives, and its batch the time until others stand
_PLANTED = re.compile(rb"(?i)[^\s\"]*zqxj[^\s\"]*|(?<![\w.])18[0-9]{2}[01][0-9][0-3][0-9](?![\w.])")
"""The word that is in every planted name, number and file name; and days of a century when nothing else happened."""

_DATE, _UID = "20260102", "1.2.826.0.1.3680043.8.498.1"


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody, and the file about them."""

    number: int

    @property
    def kind(self) -> str:
        """What is the matter with the file."""
        kind = KINDS[self.number % len(KINDS)]
        return "good" if kind == "deadly" and self.number // len(KINDS) >= _DEADLY_AT_MOST else kind

    @property
    def file_name(self) -> str:
        """As senders make them; some are of another encoding than the file system's."""
        name = f"ZQXJ{self.number:04}^ANNA^{self._born}"
        return os.fsdecode(name.encode() + b" J\xe4ger.dcm") if self.number % 5 == 0 else f"{name}.dcm"

    def file(self) -> bytes:
        """The bytes of the file."""
        if self.kind == "ignored":
            return f"Report on zqxj {self.number}, born {self._born}\n".encode() * 20
        image = self._image()
        if self.kind == "refused":
            del image.StudyInstanceUID
        if self.kind in {"odd", "malformed"}:
            image.StudyDate, image.SliceThickness, image.SeriesNumber = _DATE, "11.11111", "12345678"
            image.FrameOfReferenceUID = _UID
        if self.kind == "malformed":
            image.StudyInstanceUID = _UID
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        target = io.BytesIO()
        image.save_as(target, enforce_file_format=True)
        data = target.getvalue()
        if self.kind in {"odd", "malformed"}:
            for good in (_DATE, "11.11111", "12345678", _UID):
                data = data.replace(good.encode(), good.encode()[:-4] + b"zqxj")
        return data[:-40] if self.kind == "incomplete" else data

    @property
    def _born(self) -> str:
        return f"18{self.number % 100:02}{self.number % 12 + 1:02}{self.number % 28 + 1:02}"

    def _image(self) -> Dataset:
        same = self.number - 6 if self.kind == "conflicting" else self.number  # the good one before it
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SpecificCharacterSet = "ISO_IR 100"
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = corpus.uid("privacy", same)
        image.StudyInstanceUID = corpus.uid("privacy study", same // 100)
        image.SeriesInstanceUID = corpus.uid("privacy series", same // 100)
        image.PatientName, image.PatientID = f"Zqxj{self.number:04}é^Anna", f"ZQXJ-{self.number:06}"
        image.PatientBirthDate, image.AccessionNumber = self._born, f"zqxj{self.number:08}"
        image.ReferringPhysicianName, image.StudyDescription = "Zqxj^Referrer", f"for zqxj {self.number}"
        image.ImageComments = {"deadly": DEADLY, "faulty": FAULTY}.get(self.kind, b"none").decode()
        image.Modality, image.InstanceNumber = "CT", self.number
        image.Rows = image.Columns = 8
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.PixelData = bytes([self.number % 256, 0]) * 64
        return image


@dataclass(slots=True)
class Seen:
    """All that was shown, by where."""

    texts: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, where: str, text: bytes) -> None:
        """Keep what was shown somewhere."""
        self.texts.setdefault(where, set()).add(text)

    def leaks(self) -> dict[str, list[bytes]]:
        """The planted words among it."""
        found = {where: planted(b"\n".join(texts)) for where, texts in self.texts.items()}
        return {where: hits[:5] for where, hits in found.items() if hits}


def planted(text: bytes) -> list[bytes]:
    """The planted words in a text."""
    return sorted(set(_PLANTED.findall(text)))


@contextmanager
def spying(seen: Seen, *looks: Callable[[Seen], None]) -> Iterator[None]:
    """Look at everything again and again, from a thread."""
    stopping = threading.Event()

    def spy() -> None:
        while not stopping.wait(0.05):
            for look in looks:
                with suppress(OSError, httpx.TransportError):
                    look(seen)

    thread = threading.Thread(target=spy)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def look_at_processes(group: int) -> Callable[[Seen], None]:
    """Titles of the processes of a group, and the names of their threads as the kernel has them."""

    def look(seen: Seen) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int((process / "stat").read_text().rpartition(")")[2].split()[2]) != group:
                    continue
                seen.add("processes", (process / "cmdline").read_bytes())
                for name in process.glob("task/*/comm"):
                    seen.add("threads", name.read_bytes())

    return look


def look_at_names(*directories: Path) -> Callable[[Seen], None]:
    """The names of everything below directories that hold what is temporary or private."""

    def look(seen: Seen) -> None:
        for directory in directories:
            for _, folders, files in os.walk(directory):
                for name in (*folders, *files):
                    seen.add("names", os.fsencode(name))

    return look


def look_at_file(path: Path) -> Callable[[Seen], None]:
    """What a file says."""
    return lambda seen: seen.add(path.name, path.read_bytes())


def look_at_url(url: str) -> Callable[[Seen], None]:
    """What a server answers, where it answers."""

    def look(seen: Seen) -> None:
        answer = httpx.get(url, timeout=5)
        if answer.status_code == httpx.codes.OK:
            seen.add(url.rpartition("/")[2], answer.content)

    return look


@contextmanager
def service_manager(path: Path, seen: Seen) -> Iterator[None]:
    """Hear what is said to the service manager (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(0.2)
        stopping = threading.Event()

        def hear() -> None:
            while not stopping.is_set():
                with suppress(TimeoutError):
                    seen.add("service manager", listener.recv(65536))

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
            path.unlink()
