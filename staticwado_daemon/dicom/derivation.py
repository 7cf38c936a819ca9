"""What an image says of itself whose pixels were made of another one's (PS3.3 C.7.6.1.1.2 and C.12.4.1.1)."""

from typing import Final

import orjson

from staticwado_daemon.dicom.attributes import Attributes

_IMAGE_TYPE: Final = "00080008"
_DERIVATION_DESCRIPTION: Final = "00082111"
_LONGEST_DESCRIPTION: Final = 1024  # PS3.5 table 6.2-1, VR ST


def derived(source: Attributes, done: str) -> dict[str, bytes | None]:
    """Return Image Type and Derivation Description of what is derived from `source`.

    Args:
        source: The data set that the pixels came from.
        done: What was done to them, to be added to what was done before; if all is too long, its beginning goes.
    """
    image_type = source.value(_IMAGE_TYPE) or {}
    values = ["DERIVED", *(image_type.get("Value", [])[1:] or ["PRIMARY"])]
    before = source.text(_DERIVATION_DESCRIPTION)
    text = f"{before}; {done}" if before else done
    return {
        _IMAGE_TYPE: orjson.dumps({"vr": "CS", "Value": values}),
        _DERIVATION_DESCRIPTION: orjson.dumps({"vr": "ST", "Value": [text[-_LONGEST_DESCRIPTION:]]}),
    }
