"""What of an instance browsers show by themselves: its encapsulated document, its video, pictures of its frames."""

from collections.abc import Sequence

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom import documents, render
from staticwado_daemon.dicom.binary import binary_buffer
from staticwado_daemon.dicom.data_set import pieces
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.pipeline.files import Files


def store_document(files: Files, instance: Instance) -> None:
    """Store the encapsulated document, if there is one, under the extension that says how it may be served.

    Of an image or video the picture is what is rendered, and what its frames come back from.
    """
    if instance.pixel_data is not None:
        return
    attributes = instance.attributes
    value = binary_buffer(attributes, documents.ENCAPSULATED_DOCUMENT, instance.bulk_values)
    if value is not None and len(value):
        document = documents.document(attributes, value)
        name = layout.rendered(documents.document_extension(attributes, document))
        files.add_pieces(name, pieces(document, [(0, len(document))]))


def store_video(files: Files, instance: Instance, segments: FrameSegments, usual: str) -> None:
    """Store a video, under the extension that says what its bytes are.

    Args:
        files: the staging directories.
        instance: as read.
        segments: where in `instance.buffer` the stream is.
        usual: the extension of its transfer syntax.
    """
    beginning = next(iter(pieces(instance.buffer, segments)), b"")
    head = bytes(beginning[: documents.HEAD_LENGTH])
    name = layout.rendered(documents.video_extension(head, usual))
    files.add_pieces(name, pieces(instance.buffer, segments))


def store_pictures(
    files: Files, instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments]
) -> None:
    """Store a picture of each frame that can be shown."""
    for number, picture in enumerate(render.rendered_frames(instance, description, segments), start=1):
        if picture is not None:
            files.add(layout.rendered_frame(number), picture)
