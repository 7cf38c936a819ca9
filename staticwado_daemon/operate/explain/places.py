"""Where to look for what became of something."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SearchPlaces:
    """Where to look.

    Attributes:
        root: of the tree.
        state_dir: where the daemon's report stands.
        journal: of receipts; it may be absent.
        inbound: the folders that are watched, without the drop folder.
        drop_dir: the drop folder, if there is one.
    """

    root: Path
    state_dir: Path
    journal: Path
    inbound: tuple[Path, ...] = ()
    drop_dir: Path | None = None
