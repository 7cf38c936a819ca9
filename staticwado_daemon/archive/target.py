"""What somebody names of an archive: a study, a series or an instance, as the path that it has in URLs."""

import re
from dataclasses import dataclass
from typing import Self

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Rejected

_PATH = re.compile(r"studies/([^/]+)(?:/series/([^/]+)(?:/instances/([^/]+))?)?")


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A study, or a series of it, or an instance of that; written `studies/S[/series/X[/instances/I]]`."""

    study: UID
    series: UID | None = None
    instance: UID | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a target.

        Raises:
            Rejected: if the text is anything else.
        """
        found = _PATH.fullmatch(text)
        if not found:
            raise Rejected("no target: it is written studies/S[/series/X[/instances/I]]")
        study, series, instance = found.groups()
        return cls(UID(study), UID(series) if series else None, UID(instance) if instance else None)

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """The target that is one instance."""
        return cls(identity.study, identity.series, identity.instance)

    def __str__(self) -> str:
        """The path."""
        series = f"/series/{self.series}" if self.series else ""
        return f"studies/{self.study}{series}" + (f"/instances/{self.instance}" if self.instance else "")

    def names(self, identity: Identity) -> bool:
        """Whether an instance is what is named, or part of it."""
        return (
            self.study == identity.study
            and self.series in {None, identity.series}
            and self.instance in {None, identity.instance}
        )
