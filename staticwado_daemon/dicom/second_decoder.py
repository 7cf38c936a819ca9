"""A second decoder, for frames that the first one can't read, or reads wrongly: pylibjpeg with its plug-ins.

The plug-ins bring other codecs (a build of OpenJPEG for JPEG 2000, an RLE decoder in Rust), so what one stumbles over
the other often reads. They hold the GIL and are slower, hence second.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from pylibjpeg import utils

from staticwado_daemon.dicom.codestreams import Header
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.native import Array, Payload, shape
from staticwado_daemon.errors import Corrupt

_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, OSError)
_PANIC = "PanicException"
_AS_BYTES = 2  # the plug-ins' newer interface


def decode_pixels(payload: Payload, transfer_syntax_uid: str, header: Header, description: PixelDescription) -> Array:
    """Decode a JPEG 2000 or HTJ2K frame.

    Returns:
        Samples in the sign and the narrowest cell width of the codestream, shaped as `native.shape` says.

    Raises:
        Corrupt: if there is no plug-in for the transfer syntax, or it can't read the frame either.
    """
    decoded = _decode(payload, transfer_syntax_uid, {})
    width = 1 if header.precision <= 8 else 2 if header.precision <= 16 else 4
    samples = np.frombuffer(decoded, f"<{'i' if header.signed else 'u'}{width}")
    size = shape(description)
    if samples.size != int(np.prod(size)):
        raise Corrupt(f"the frame decodes to {samples.size} samples")
    return samples.reshape(size)


def decode_planes(payload: Payload, transfer_syntax_uid: str, description: PixelDescription) -> bytes:
    """Decode an RLE frame to its little-endian planes.

    Raises:
        Corrupt: as for `decode_pixels`.
    """
    options = {
        "rows": description.rows,
        "columns": description.columns,
        "bits_allocated": description.bits_allocated,
    }
    return _decode(payload, transfer_syntax_uid, options)


def _decode(payload: Payload, transfer_syntax_uid: str, options: dict[str, int]) -> bytes:
    decoder = _decoders().get(transfer_syntax_uid)
    if decoder is None:
        raise Corrupt(f"there is no second decoder for transfer syntax {transfer_syntax_uid}")
    try:
        return bytes(decoder(bytes(payload), version=_AS_BYTES, **options))
    except BaseException as error:
        # What a plug-in in Rust stumbles over is a panic, which is no Exception and can't be imported.
        if isinstance(error, _ERRORS) or type(error).__name__ == _PANIC:
            raise Corrupt("the frame can't be decoded by the second decoder either") from error
        raise


@cache
def _decoders() -> dict[str, Callable[..., Any]]:
    """The installed plug-ins' decoders by transfer syntax; of several the first by name."""
    found: Any = utils.get_pixel_data_decoders(version=_AS_BYTES)
    return {uid: plugins[min(plugins)] for uid, plugins in found.items()}
