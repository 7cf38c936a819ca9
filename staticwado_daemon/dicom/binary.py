"""Binary attribute values, wherever the DICOM JSON model put them."""

import binascii
from collections.abc import Iterable

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import Buffer, BulkValue, held


def binary_value(attributes: Attributes, tag: str, bulk_values: Iterable[BulkValue] = ()) -> bytes | None:
    """Return the bytes of `binary_buffer`."""
    buffer = binary_buffer(attributes, tag, bulk_values)
    return None if buffer is None else held(buffer)


def binary_buffer(attributes: Attributes, tag: str, bulk_values: Iterable[BulkValue] = ()) -> Buffer | None:
    """Return a binary attribute's little-endian bytes, None where it is absent or out of reach.

    Args:
        attributes: The data set.
        tag: The attribute, as eight hexadecimal digits.
        bulk_values: The instance's values kept outside the data set; a BulkDataURI names one of them by its digest.
    """
    attribute = attributes.value(tag)
    if attribute is None:
        return None
    if "InlineBinary" in attribute:
        return binascii.a2b_base64(attribute["InlineBinary"])
    # The URI spreads the digest's digits over directories.
    uri = str(attribute.get("BulkDataURI", "")).replace("/", "")
    return next((bulk.data for bulk in bulk_values if uri.endswith(bulk.sha256)), None)
