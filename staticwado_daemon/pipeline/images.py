"""What becomes of the frames of an instance, as somebody chose it."""

from dataclasses import dataclass, field

from staticwado_daemon.dicom.content_types import Alternate
from staticwado_daemon.dicom.transcode import Choices


@dataclass(frozen=True, slots=True)
class Alternates:
    """Renditions of the frames, beside them.

    Attributes:
        alternate: their coding.
        name: of the directory in which they stand (`archive.layout.ALTERNATE_NAME`).
        thumbnails: large frames are made smaller.
    """

    alternate: Alternate
    name: str = "lossy"
    thumbnails: bool = False


@dataclass(frozen=True, slots=True)
class Images:
    """What becomes of the frames of an instance.

    Attributes:
        choices: what they are stored as.
        alternates: what they are stored as besides; None for nothing.
        thumbnails: make thumbnails.
        thumbnail_size: pixels along the longer side of one.
        rendered: store pictures of all frames.
    """

    choices: Choices = field(default_factory=Choices)
    alternates: Alternates | None = None
    thumbnails: bool = True
    thumbnail_size: int = 256
    rendered: bool = False
