"""Alternate renditions of the frames, stored beside them: all of an instance's or none."""

from collections.abc import Sequence

from staticwado_daemon.archive import layout, multipart
from staticwado_daemon.dicom.alternates import renditions
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.proof import NotLossless
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.pipeline.files import Files
from staticwado_daemon.pipeline.images import Alternates


def store(
    files: Files,
    instance: Instance,
    description: PixelDescription,
    segments: Sequence[FrameSegments],
    wanted: Alternates,
) -> tuple[str, ...]:
    """Store a rendition of each frame; what comes back is a warning, if there are none.

    Args:
        files: of the instance.
        instance: as read.
        description: of `instance`, see `frames.describe`.
        segments: of `instance`, see `frames.frame_segments`.
        wanted: which renditions.
    """
    made = renditions(instance, description, segments, wanted.alternate, thumbnails=wanted.thumbnails)
    if isinstance(made, str):
        return (f"no alternate {wanted.alternate}: {made}",)
    before = len(files.blobs)
    part_type = transfer_syntax(made.transfer_syntax_uid).part_type
    try:
        for number, payload in enumerate(made.frames, start=1):
            files.add(layout.alternate_frame(wanted.name, number), multipart.wrap(part_type, payload))
    except NotLossless as why:
        files.take_back(before)
        return (f"no alternate {wanted.alternate}: {why.reason}",)
    return ()
