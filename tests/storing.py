"""Frames stored as the line stores them: all of them made, and as they came if one of them doesn't come back."""

from dataclasses import replace

from staticwado_daemon.dicom import transcode
from staticwado_daemon.dicom.content_types import ContentType
from staticwado_daemon.dicom.frames import describe, frame_segments
from staticwado_daemon.dicom.native import Frames
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.proof import NotLossless
from staticwado_daemon.dicom.transcode import Choices, StoredFrames


def store(instance: Instance, choices: Choices | ContentType) -> StoredFrames:
    description = describe(instance)
    segments = frame_segments(instance, description)
    wanted = choices if isinstance(choices, Choices) else Choices(choices)
    content_type = wanted.of(description.samples_per_pixel, instance.transfer_syntax_uid)
    reason = ""
    for stored in transcode.ways(instance, description, segments, content_type):
        try:
            payloads = list(stored.frames)
        except NotLossless as why:
            reason = reason or why.reason
        else:
            frames = Frames(len(payloads), payloads.__getitem__)
            return replace(stored, frames=frames, kept_because=reason or stored.kept_because)
    raise AssertionError(reason)
