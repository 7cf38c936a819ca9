"""What the ingest knows of a file before it stages it."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.pipeline.ingest import _lacks_pixels

CT, SR, ROWS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11", b'{"vr":"US","Value":[512]}'


def _instance(sop_class: str, pixel_data: object = None, **more: bytes) -> Any:
    uid = b'{"vr":"UI","Value":["%b"]}' % sop_class.encode()
    return SimpleNamespace(pixel_data=pixel_data, attributes=Attributes({"00080016": uid, **more}))


@pytest.mark.parametrize(
    ("instance", "lacks"),
    [
        (_instance(CT), True),
        (_instance(CT, object()), False),
        (_instance(SR), False),
        (_instance(SR, **{"00280010": ROWS}), True),
        (_instance(""), False),
        (_instance("Doe^Jane", **{"00280010": ROWS}), True),
        (_instance("1.2.3"), False),
    ],
    ids=["image", "whole", "report", "rows", "none", "no UID", "private"],
)
def test_an_image_is_known_by_its_class_or_its_rows(instance: Any, *, lacks: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom would quote what isn't a UID
        assert _lacks_pixels(instance) is lacks
