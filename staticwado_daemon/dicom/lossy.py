"""What becomes of a data set whose pixels were coded with loss: another instance, derived from the first.

PS3.3 C.7.6.1.1.5: a compressed version of another image says so in Lossy Image Compression, Ratio and Method, is
DERIVED, and receives a SOP Instance UID of its own where its predecessor was a DICOM image. PS3.3 C.12.4.1: it names
that predecessor. The new UID is computed, so that every machine derives the same instance from the same source.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codings import Coding
from staticwado_daemon.dicom.derivation import derived
from staticwado_daemon.dicom.uids import UID

_SOP_CLASS_UID = "00080016"
_SOP_INSTANCE_UID = "00080018"
_SOURCE_IMAGE_SEQUENCE = "00082112"
_DERIVATION_CODE_SEQUENCE = "00089215"
_LOSSY_IMAGE_COMPRESSION = "00282110"
_RATIO = "00282112"
_METHOD = "00282114"


@dataclass(frozen=True, slots=True)
class Loss:
    """What was done to the frames of an instance.

    Attributes:
        coding: By which they lost something.
        instance: SOP Instance UID of what they are now.
        native_length: Bytes of all frames before.
    """

    coding: Coding
    instance: UID
    native_length: int

    @classmethod
    def of(cls, source: UID, coding: Coding, native_length: int) -> "Loss":
        """Derive an instance from the one with the SOP Instance UID `source`."""
        return cls(coding, derived_uid(source, coding), native_length)

    def changes(self, source: Attributes, coded_length: int) -> dict[str, bytes | None]:
        """Return the attributes that the derived instance must show differently from `source`.

        Args:
            source: The data set that the frames came from.
            coded_length: Bytes of all frames as they are now.
        """
        ratio = f"{self.native_length / max(1, coded_length):.2f}"
        predecessor = {
            "00081150": _attribute("UI", [source.text(_SOP_CLASS_UID)]),
            "00081155": _attribute("UI", [source.text(_SOP_INSTANCE_UID)]),
            "0040A170": _attribute("SQ", [_code("121320", "Uncompressed predecessor")]),
        }
        return {
            **derived(source, f"Lossy compression: {self.coding.amount}; {ratio}:1"),
            _SOP_INSTANCE_UID: _json("UI", [self.instance]),
            _SOURCE_IMAGE_SEQUENCE: _json("SQ", [*_values(source, _SOURCE_IMAGE_SEQUENCE), predecessor]),
            _DERIVATION_CODE_SEQUENCE: _json(
                "SQ", [*_values(source, _DERIVATION_CODE_SEQUENCE), _code("113040", "Lossy Compression")]
            ),
            _LOSSY_IMAGE_COMPRESSION: _json("CS", ["01"]),
            # One value a loss, in the order in which they happened, of both attributes.
            _RATIO: _json("DS", [*_values(source, _RATIO), float(ratio)]),
            _METHOD: _json("CS", [*_values(source, _METHOD), self.coding.method]),
        }


def derived_uid(source: UID, coding: Coding) -> UID:
    """The SOP Instance UID of what `coding` makes of the instance `source` (PS3.5 B.2: derived from a UUID)."""
    named = f"{source}\0{coding.transfer_syntax_uid}\0{coding.amount}".encode()
    number = uuid.UUID(bytes=hashlib.sha256(named).digest()[:16], version=5).int
    return UID(f"2.25.{number}")


def _values(attributes: Attributes, tag: str) -> list[Any]:
    attribute = attributes.value(tag) or {}
    values = attribute.get("Value", [])
    return values if isinstance(values, list) else []


def _code(value: str, meaning: str) -> dict[str, Any]:
    """An item of a code sequence, of the DICOM Controlled Terminology (PS3.3 section 8.8)."""
    return {
        "00080100": _attribute("SH", [value]),
        "00080102": _attribute("SH", ["DCM"]),
        "00080104": _attribute("LO", [meaning]),
    }


def _attribute(vr: str, values: Iterable[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def _json(vr: str, values: Iterable[Any]) -> bytes:
    return orjson.dumps(_attribute(vr, values))
