"""What `make run` runs: the daemon on ./dicom with the viewer, all of it inside this directory."""

import shutil
import sys
from pathlib import Path

from pydicom.data import get_testdata_file

from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.web.ohif import fetch_ohif

REPOSITORY = Path(__file__).resolve().parents[1]
INBOUND = REPOSITORY / "dicom"
PRIVATE = REPOSITORY / ".run"
SAMPLES = ("693_J2KI.dcm", "CT_small.dcm", "examples_overlay.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm")
"""A head CT, a small CT, an MR and two ultrasounds, one of which moves: they come with pydicom."""


def main(port: int) -> int:
    """Prepare what is missing, then be the daemon."""
    PRIVATE.mkdir(exist_ok=True)
    INBOUND.mkdir(exist_ok=True)
    if not any(INBOUND.iterdir()):
        _copy_samples()
    viewer = _viewer()
    config = PRIVATE / "static-wado.json5"
    config.write_text(_configuration(port, viewer))
    page = f"http://127.0.0.1:{port}/{'' if viewer else 'dicomweb/studies'}"
    print(f"\n  Drop DICOM files into  {INBOUND}\n  and look at them on    {page}\n  Ctrl-C ends it.\n", flush=True)
    return execute(staticwado, "staticwado", ["run", "-c", str(config)])


def _copy_samples() -> None:
    for name in SAMPLES:
        source = get_testdata_file(name, download=False)
        if not source:
            raise SystemExit(f"pydicom has no {name} any more")
        # Under a temporary name until it is whole, as every careful sender does it.
        part = shutil.copy(source, INBOUND / f"{name}.part")
        Path(part).rename(INBOUND / name)


def _viewer() -> Path | None:
    try:
        return fetch_ohif(PRIVATE / "ohif")
    except StaticwadoError as why:
        print(f"No viewer this time, everything else works: {why}", file=sys.stderr)
        return None


def _configuration(port: int, viewer: Path | None) -> str:
    ohif = f', ohif: "{viewer.relative_to(PRIVATE)}"' if viewer else ""
    return f"""\
// Made by `make run`, anew each time.
{{
  staticWadoConfig: {{ rootDir: "dicomweb" }},
  daemonConfig: {{
    inbound: [{{ dir: "../dicom" }}],
    serve: {{ port: {port}{ohif} }},
  }},
}}
"""


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
