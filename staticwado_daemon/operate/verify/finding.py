"""What may be wrong with a tree: a closed list of kinds, each with its meaning and its repair."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from staticwado_daemon.dicom.uids import UID, Identity

Kind = Literal[
    "record_unreadable",
    "record_misnamed",
    "record_missing",
    "pack_damaged",
    "remainder_missing",
    "instance_missing",
    "metadata_missing",
    "metadata_wrong",
    "frame_missing",
    "frame_damaged",
    "frames_swapped",
    "bulk_missing",
    "bulk_damaged",
    "file_missing",
    "file_damaged",
    "thumbnail_missing",
    "thumbnail_damaged",
    "thumbnail_stale",
    "original_damaged",
    "not_restorable",
    "summary_missing",
    "summary_unreadable",
    "summary_stale",
    "count_wrong",
    "index_entry_missing",
    "index_entry_wrong",
    "index_entry_foreign",
    "instance_orphaned",
    "series_orphaned",
    "study_orphaned",
    "file_orphaned",
    "leftover",
    "unfinished",
    "format_missing",
    "format_wrong",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

Mending = Literal["source", "renew", "group", "set aside", "finish", "nobody"]
"""How a kind is mended: see `MENDINGS`."""

MENDINGS: dict[Mending, str] = {
    "source": "store it again from its source file, or from what is left in the tree if that gives the source",
    "renew": "have the writer make it anew from the records",
    "group": "merge the study's record files into one of the right name",
    "set aside": "move it to .staticwado/kept/orphans/",
    "finish": "let the writer finish what was interrupted",
    "nobody": "nothing: somebody has to look at it",
}


class Meaning(NamedTuple):
    """What a kind of damage means, in one sentence, and how it is mended."""

    sentence: str
    mending: Mending


MEANINGS: dict[Kind, Meaning] = {
    "record_unreadable": Meaning("a record file is damaged, and the records in it can't be read", "source"),
    "record_misnamed": Meaning("what a record file holds has another SHA-256 than its name says", "group"),
    "record_missing": Meaning("an instance's files are there, but no record speaks of it", "source"),
    "pack_damaged": Meaning("a pack of remainders is damaged: originals can't be restored from it", "source"),
    "remainder_missing": Meaning("no pack has what the original holds besides its frames", "source"),
    "instance_missing": Meaning("a record speaks of an instance whose directory isn't there", "source"),
    "metadata_missing": Meaning("an instance's own metadata file isn't there", "source"),
    "metadata_wrong": Meaning("an instance's own metadata file isn't what the record says", "source"),
    "frame_missing": Meaning("the file of a frame isn't there", "source"),
    "frame_damaged": Meaning("the file of a frame isn't what was written", "source"),
    "frames_swapped": Meaning("the file of a frame holds what belongs to another one", "source"),
    "bulk_missing": Meaning("the file of a bulk value isn't there", "source"),
    "bulk_damaged": Meaning("the file of a bulk value isn't what was written", "source"),
    "file_missing": Meaning("a video, a document or the whole object isn't there", "source"),
    "file_damaged": Meaning("a video, a document or the whole object isn't what was written", "source"),
    "thumbnail_missing": Meaning("the thumbnail of an instance, a series or a study isn't there", "source"),
    "thumbnail_damaged": Meaning("the thumbnail of an instance isn't what was written", "source"),
    "thumbnail_stale": Meaning(
        "the thumbnail of a series or a study isn't that of the instance it stands for", "renew"
    ),
    "original_damaged": Meaning("an original that was kept whole isn't what it was", "nobody"),
    "not_restorable": Meaning(
        "the original doesn't come back from what is stored, although no file is damaged", "source"
    ),
    "summary_missing": Meaning("a list or the metadata of a study or series aren't there", "renew"),
    "summary_unreadable": Meaning("a list or the metadata of a study or series can't be read", "renew"),
    "summary_stale": Meaning("a list or the metadata of a study or series aren't what the records say", "renew"),
    "count_wrong": Meaning("a list gives a wrong number of series or instances", "renew"),
    "index_entry_missing": Meaning("the list of all studies lacks a study", "renew"),
    "index_entry_wrong": Meaning("the list of all studies says something else of a study than its records", "renew"),
    "index_entry_foreign": Meaning("the list of all studies has a study that isn't there", "renew"),
    "instance_orphaned": Meaning("no record speaks of the directory of an instance, and it isn't one", "set aside"),
    "series_orphaned": Meaning("no record speaks of the directory of a series", "set aside"),
    "study_orphaned": Meaning("no record speaks of the directory of a study", "set aside"),
    "file_orphaned": Meaning("nothing speaks of the file", "set aside"),
    "leftover": Meaning("a temporary file was left behind", "set aside"),
    "unfinished": Meaning("the study was being written when its writer ended", "finish"),
    "format_missing": Meaning("format.json, which says what the tree's format is, isn't there", "renew"),
    "format_wrong": Meaning("format.json says nothing, or that the tree is of a newer program", "nobody"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that isn't as it should be.

    Attributes:
        kind: see `MEANINGS`.
        where: the path concerned, below the root.
        study: in which it is; None for what belongs to no study.
        identity: the instance concerned, if it is one.
        content: which version of that instance; "" if that isn't known.
        detail: what was found there, beyond the meaning of the kind; it may be "".
    """

    kind: Kind
    where: str
    study: UID | None = None
    identity: Identity | None = None
    content: str = ""
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        sentence = MEANINGS[self.kind].sentence
        return f"{sentence} ({self.detail})" if self.detail else sentence

    @property
    def mending(self) -> Mending:
        """How it is mended."""
        # A series' or study's thumbnail is a copy that the writer makes; an instance's is made of its source.
        if self.kind == "thumbnail_missing" and self.identity is None:
            return "renew"
        return MEANINGS[self.kind].mending
