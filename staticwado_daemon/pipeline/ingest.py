"""One source becomes staged files and a record: the work of a worker process.

It reads, decides and writes into its own staging directory only; whether anything of it becomes part of the tree is
the publisher's decision.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydicom.config import IGNORE
from pydicom.uid import UID

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom import part10
from staticwado_daemon.dicom.part10 import Instance, Limits
from staticwado_daemon.errors import Ignored, Incomplete, Rejected, Transient
from staticwado_daemon.inbound import source as sources
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.staged import Staged, Unfinished
from staticwado_daemon.pipeline.staging import stage

_log = structlog.get_logger(__name__)

_SOP_CLASS_UID, _ROWS = "00080016", "00280010"


@dataclass(frozen=True, slots=True)
class Rules:
    """How instances are stored.

    Attributes:
        images: what becomes of their frames.
        limits: what a file may ask of us, and which values become bulk data.
    """

    images: Images
    limits: Limits


def ingest_batch(batch: Sequence[Source], directory: Path, rules: Rules) -> list[Staged | Receipt | Unfinished]:
    """Ingest sources one after the other, each staged in a directory of its own below `directory`."""
    results = [ingest(source, directory / str(number), rules) for number, source in enumerate(batch)]
    if not any(isinstance(result, Staged) for result in results):
        shutil.rmtree(directory, ignore_errors=True)
    return results


def ingest(source: Source, directory: Path, rules: Rules) -> Staged | Receipt | Unfinished:
    """Stage one complete Part 10 file as frames, bulk data, thumbnail and record.

    Bad input is a receipt, not an exception; what may be better another time is `Unfinished`.
    """
    try:
        with sources.opened(source, part10.look) as content:
            instance = part10.read(content, rules.limits, layout.bulk_uri)
            if not source.final and _lacks_pixels(instance):
                return Unfinished("an image without Pixel Data", incomplete=True)
            return stage(source, content, instance, directory, rules.images)
    except Incomplete as why:
        return Unfinished(why.reason, incomplete=True)
    except Rejected as why:
        return Receipt(source.path, source.stamp, "rejected", why.reason)
    except Ignored as why:
        return Receipt(source.path, source.stamp, "ignored", why.reason)
    except Transient as why:
        return Unfinished(str(why), incomplete=False)
    except OSError as why:
        return Unfinished(why.strerror or str(why), incomplete=False, refused=True)
    except MemoryError:
        return Receipt(source.path, source.stamp, "rejected", "needs more memory than a worker may use")
    except Exception as why:  # noqa: BLE001 - a fault of ours must not stop the line, whatever it is
        kind = type(why).__name__
        _log.exception("ingest_failed", kind=kind)
        return Receipt(source.path, source.stamp, "rejected", f"internal error ({kind}); please report it")


def _lacks_pixels(instance: Instance) -> bool:
    """Whether an image ends before its Pixel Data: it may have been cut off between two elements, and be arriving."""
    if instance.pixel_data is not None:
        return False
    # Unchecked: pydicom would warn of a UID that isn't one, by quoting it.
    sop_class = UID(instance.attributes.text(_SOP_CLASS_UID), IGNORE)
    return _ROWS in instance.attributes or sop_class.name.endswith("Image Storage")
