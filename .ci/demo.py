"""What `make run` runs: the daemon on ./dicom with the viewer, and the DICOM node, all of it inside this directory."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.web.ohif import VERSION, fetch_ohif

REPOSITORY = Path(__file__).resolve().parents[1]
INBOUND = REPOSITORY / "dicom"
PRIVATE = REPOSITORY / ".run"
ROOT = PRIVATE / "dicomweb"

SAMPLES = ("examples_overlay.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm")
"""An MR and two ultrasounds, one of which moves: they come with pydicom."""

SLICES, SIZE = 60, 256
ARC = "2.25.301928374650918273645"

TITLE, DICOM_PORT = "STATICWADO", 11112
"""How our DICOM node is called. Where the port is taken, it has another one."""


def main(said: str) -> int:
    """Prepare what is missing, then be the daemon on the port that was said."""
    port = int(said) if said.isdecimal() else 0
    if not 1 <= port <= 65535:
        print(f"make run: {said} is no port; try make run PORT=8081", file=sys.stderr)
        return 1
    problem = _problem(port)
    if problem:
        print(f"make run: {problem}", file=sys.stderr)
        return 1
    PRIVATE.mkdir(exist_ok=True)
    INBOUND.mkdir(exist_ok=True)
    if not any(INBOUND.iterdir()):
        _copy_samples()
        _write_phantom(INBOUND / "phantom")
    viewer = _viewer()
    config = PRIVATE / "static-wado.json5"
    dicom_port = _dicom_port()
    config.write_text(_configuration(port, dicom_port, viewer))
    page = f"http://127.0.0.1:{port}/{'' if viewer else 'dicomweb/studies'}"
    command = f".venv/bin/staticwado -c {config.relative_to(REPOSITORY)} status"
    print(
        f"\n  Drop DICOM files into  {INBOUND}\n  and look at them on    {page}\n"
        f"  Or send them to it:    storescu -aec {TITLE} 127.0.0.1 {dicom_port} FILE...\n"
        f"  How far it is:         {command}\n  Ctrl-C ends it.\n",
        flush=True,
    )
    with _scp(config):
        return execute(staticwado, "staticwado", ["run", "-c", str(config)])


def _problem(port: int) -> str | None:
    """Why the daemon could not start, found before anything that a running one uses is touched."""
    if lock_holder(ROOT):
        return "it is running already, in another terminal"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return f"port {port} is taken; try make run PORT={port + 1}"
    return None


def _dicom_port() -> int:
    """The port that everybody knows, or else any other that is free."""
    for port in (DICOM_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("no port is free for DICOM")


@contextmanager
def _scp(config: Path) -> Iterator[None]:
    """Our DICOM node, for as long as the daemon runs; Ctrl-C reaches both."""
    command = [sys.executable, "-m", "staticwado_daemon.cli", "scp", "-c", str(config)]
    scp = subprocess.Popen(command)  # noqa: S603 (no shell, and every word is ours)
    try:
        yield
    finally:
        scp.terminate()
        scp.wait()


def _copy_samples() -> None:
    for name in SAMPLES:
        source = get_testdata_file(name, download=False)
        if not source:
            raise SystemExit(f"pydicom has no {name} any more")
        # Under a temporary name until it is whole, as every careful sender does it.
        part = shutil.copy(source, INBOUND / f"{name}.part")
        Path(part).rename(INBOUND / name)


def _write_phantom(directory: Path) -> None:
    """A CT of nobody to scroll through: a body with two lungs, a spine and a few round things, in Hounsfield units."""
    directory.mkdir()
    z, y, x = np.mgrid[0:SLICES, 0:SIZE, 0:SIZE].astype(np.float32)
    z, y, x = (z / SLICES - 0.5) * 2, (y / SIZE - 0.5) * 2, (x / SIZE - 0.5) * 2
    volume = np.full(x.shape, -1000, np.float32)
    for (cx, cy, cz), (rx, ry, rz), value in (
        ((0, 0, 0), (0.85, 0.6, 1.8), 40),
        ((-0.4, -0.05, 0), (0.3, 0.4, 0.95), -850),
        ((0.4, -0.05, 0), (0.3, 0.4, 0.95), -850),
        ((0, 0.4, 0), (0.13, 0.13, 3), 700),
        ((0.08, -0.15, -0.1), (0.2, 0.22, 0.5), 55),
        ((-0.45, 0.05, 0.3), (0.07, 0.07, 0.12), 30),
        ((0.38, -0.2, -0.45), (0.05, 0.05, 0.09), 30),
    ):
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1
        volume[inside] = value
    volume += np.random.default_rng(1).normal(0, 12, volume.shape)
    for number, pixels in enumerate(volume.astype(np.int16), start=1):
        path = directory / f"{number:03}.dcm"
        _slice(number, pixels).save_as(path.with_suffix(".part"), enforce_file_format=True)
        path.with_suffix(".part").rename(path)


def _slice(number: int, pixels: np.ndarray) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{ARC}.{number}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = (f"{ARC}.0.{n}" for n in (1, 2, 3))
    image.PatientName, image.PatientID, image.StudyID, image.AccessionNumber = "Phantom^Staticwado", "PHANTOM", "1", ""
    image.PatientBirthDate = image.PatientSex = image.ReferringPhysicianName = ""
    image.StudyDate, image.StudyTime, image.Modality = "20240229", "101500", "CT"
    image.StudyDescription, image.SeriesDescription = "A phantom to scroll through", "Axial"
    image.SeriesNumber, image.InstanceNumber = 1, number
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    image.ImagePositionPatient = [-192, -192, 5.0 * number]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [1.5, 1.5], 5
    image.Rows, image.Columns, image.SamplesPerPixel = *pixels.shape, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, 0, "HU"
    image.WindowCenter, image.WindowWidth = [40, -500], [400, 1500]
    image.PixelData = pixels.tobytes()
    return image


def _viewer() -> Path | None:
    directory = PRIVATE / "ohif"
    if not (directory / f"ohif-{VERSION}").is_dir():
        print("fetching the viewer by npm (the first time some 50 MB) ...", flush=True)
    try:
        return fetch_ohif(directory)
    except StaticwadoError as why:
        print(f"No viewer this time, everything else works: {why}", file=sys.stderr)
        return None


def _configuration(port: int, dicom_port: int, viewer: Path | None) -> str:
    ohif = f', ohif: "{viewer.relative_to(PRIVATE)}"' if viewer else ""
    return f"""\
// Made by `make run`, anew each time.
{{
  staticWadoConfig: {{ rootDir: "dicomweb" }},
  dicomWebScpConfig: {{ aeTitle: "{TITLE}", port: {dicom_port} }},
  daemonConfig: {{
    inbound: [{{ dir: "../dicom" }}],
    serve: {{ port: {port}{ohif} }},
  }},
}}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
