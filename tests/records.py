"""Records made up for tests of what is computed from records."""

from typing import Any

import orjson

from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import UID, Identity


def make_dataset(study: str, series: str, instance: str, **values: Any) -> bytes:
    """A small DICOM JSON data set; `values` are by keyword tag, `t00200013=5`."""
    attributes = {
        "00080018": {"vr": "UI", "Value": [instance]},
        "0020000D": {"vr": "UI", "Value": [study]},
        "0020000E": {"vr": "UI", "Value": [series]},
    }
    for tag, value in values.items():
        attributes[tag[1:].upper()] = {"vr": "LO", "Value": [value]} if value is not None else {"vr": "LO"}
    return orjson.dumps(dict(sorted(attributes.items())))


def make_record(
    study: str = "1.2", series: str = "1.2.3", instance: str = "1.2.3.4", content: str = "c0", **fields: Any
) -> Record:
    """A record; whatever isn't given has a plain value."""
    defaults: dict[str, Any] = {
        "revision": 1,
        "source": "5" * 64,
        "source_transfer_syntax": "1.2.840.10008.1.2.1",
        "blobs": (),
        "remainder": ("e" * 64, 10),
        "source_attributes": b"{}",
        "dataset": make_dataset(study, series, instance),
    }
    return Record(identity=Identity(UID(study), UID(series), UID(instance)), content=content, **{**defaults, **fields})
