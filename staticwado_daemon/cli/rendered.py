"""`staticwado rendered`: a frame as a picture."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.dicom.voi import Window
    from staticwado_daemon.operate.rendered import Frame

_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_EXTENSIONS = (".jpg", ".jpeg", ".png")
_LARGEST = 32767
_USUAL_QUALITY = 90


_EXAMPLES = """\b
Examples:
  staticwado rendered 1.2.840.99.1.1.7 --window 40,400 -o liver.png
  staticwado rendered 1.2.840.99.1.1.7 --preset BONE --size 512x512
  staticwado rendered 1.2.840.99.1.1.7 --frame 12 -o - | display
"""


@click.command(short_help="Make a picture of a frame.", epilog=_EXAMPLES)
@click.argument("target")
@click.option(
    "--frame", "number", metavar="N", type=click.IntRange(min=1), default=1, help="Which frame.  [default: 1]"
)
@click.option(
    "--window", metavar="CENTER,WIDTH[,FUNCTION]", help="Grey levels; FUNCTION is linear, linear-exact or sigmoid."
)
@click.option("--preset", metavar="NAME|N", help="A window or table of the image itself, by its name or number from 1.")
@click.option("--size", metavar="WxH", help="Columns and rows that it is to fit into.  [default: its own]")
@click.option(
    "--quality",
    metavar="Q",
    type=click.IntRange(1, 100),
    default=_USUAL_QUALITY,
    help=f"Of a JPEG, from 1 to 100.  [default: {_USUAL_QUALITY}]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="A name ending with .png or .jpg, or - for a JPEG on stdout.  [default: SOPInstanceUID-N.jpg here]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object that says what was made.")
@shared()
@click.pass_obj
def rendered(
    common: Common, /, *, target: str, number: int, output: str | None, quality: int, as_json: bool, **look: str | None
) -> None:
    """Make a picture of one frame, as viewers show it: windowed, with its colours, without annotations.

    TARGET is a SOP Instance UID or studies/S/series/X/instances/I; a study or series that has one image will do.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.dicom.render import as_jpeg, as_png
    from staticwado_daemon.operate import rendered as rendering

    log.configure(common.log_level("warning"))
    window, preset, size = _window(look["window"]), look["preset"], _size(look["size"])
    if window and preset:
        raise ConfigError("--window and --preset exclude each other: say one of them")
    if as_json and output == "-":
        raise ConfigError("--json and the picture can't both go to stdout: name a file with -o")
    root = common.configuration().storage().root
    require_tree(root)
    identity = rendering.find(root, target)
    path = _path(output, f"{identity.instance}-{number}.jpg")
    frame = rendering.read(root, identity, number)
    pixels = rendering.render(frame, frame.preset(preset) if preset else window, size)
    _write(path, as_png(pixels) if path and path.suffix.lower() == ".png" else as_jpeg(pixels, quality))
    if as_json:
        click.echo(_told(path, frame, pixels.shape))
    elif path:
        click.echo(f"{path}: {pixels.shape[1]}x{pixels.shape[0]}")


def _window(text: str | None) -> "Window | None":
    from staticwado_daemon.dicom.voi import Window

    if text is None:
        return None
    number = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
    match = re.fullmatch(rf"({number}),({number})(?:,({'|'.join(_FUNCTIONS)}))?", text.strip(), re.ASCII)
    function = _FUNCTIONS[match[3] or "linear"] if match else ""
    if not match or float(match[2]) < (1 if function == "LINEAR" else 1e-9):
        raise ConfigError(
            f"{text!r} is no window: say CENTER,WIDTH or CENTER,WIDTH,FUNCTION such as 40,400 or 40,400,sigmoid; "
            "a linear width is at least 1"
        )
    return Window(float(match[1]), float(match[2]), function)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text, re.ASCII | re.IGNORECASE)
    if not match or not all(1 <= int(side) <= _LARGEST for side in match.groups()):
        raise ConfigError(f"{text!r} is no size: say COLUMNSxROWS, such as 512x512")
    return int(match[1]), int(match[2])


def _path(output: str | None, usual: str) -> Path | None:
    """Where the picture goes; None for stdout."""
    if output == "-":
        return None
    path = Path(output or usual).absolute()
    if path.suffix.lower() not in _EXTENSIONS:
        raise ConfigError(f"{path.name} ends with neither .png nor .jpg: its name says what the picture becomes")
    return path


def _write(path: Path | None, data: bytes) -> None:
    if path is None:
        click.echo(data, nl=False)
        return
    # Nobody else may look at it; a picture that is there is replaced.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _told(path: Path | None, frame: "Frame", shape: tuple[int, ...]) -> bytes:
    import orjson

    known = [preset.name for preset in frame.presets]
    return orjson.dumps(
        {"file": str(path), "frame": frame.number, "rows": shape[0], "columns": shape[1], "presets": known}
    )
