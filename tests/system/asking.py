"""Queries by others: dcmtk's findscu, and pynetdicom's own."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tests.system import dcmtk
from tests.system.nodes import TITLE

MODELS = {"patient root": "-P", "study root": "-S"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What findscu got: the answers as data sets, and what it printed."""

    answers: list[Dataset]
    said: str

    def values(self, keyword: str) -> list[str]:
        """One attribute of every answer, as text."""
        return [str(answer.get(keyword, "")) for answer in self.answers]


def findscu(
    port: int, directory: Path, level: str, *keys: str, model: str = "-S", options: tuple[str, ...] = ()
) -> Asked:
    """Ask with dcmtk; `keys` are as findscu takes them, "PatientName=DOE*". The answers are left in a new directory."""
    directory.mkdir(parents=True)
    named = [word for key in (f"QueryRetrieveLevel={level}", *keys) for word in ("-k", key)]
    said = dcmtk.run("findscu", "-v", model, *options, "-X", "-od", directory, "-aec", TITLE, *named, "127.0.0.1", port)
    return Asked([pydicom.dcmread(path, force=True) for path in sorted(directory.glob("rsp*.dcm"))], said)


def findscu_of_pynetdicom(port: int, directory: Path, level: str, *keys: str, model: str = "-S") -> Asked:
    """Ask with pynetdicom's application."""
    directory.mkdir(parents=True)
    named = [word for key in (f"QueryRetrieveLevel={level}", *keys) for word in ("-k", key)]
    command = [
        sys.executable,
        "-m",
        "pynetdicom",
        "findscu",
        "127.0.0.1",
        str(port),
        model,
        "-w",
        "-aec",
        TITLE,
        *named,
    ]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, timeout=60)
    return Asked([pydicom.dcmread(path, force=True) for path in sorted(directory.glob("rsp*.dcm"))], done.stderr)
