"""Files that somebody named, rather than put into a watched folder: the same inputs as a watched folder has.

What is named itself is taken, whatever its name; what lies in a named folder is taken as `reconcile.walk` finds it.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.inbound import reconcile
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp


@dataclass(frozen=True, slots=True)
class Named:
    """What somebody named, folders replaced by what is in them.

    Attributes:
        files: sorted, each once.
        unlisted: the receipts of folders that can't be listed, sorted.
    """

    files: tuple[Path, ...]
    unlisted: tuple[Receipt, ...]

    def __len__(self) -> int:
        return len(self.files) + len(self.unlisted)


def find(paths: Iterable[Path], exclude: Collection[Path] = ()) -> Named:
    """Find every file that is named or lies in a folder that is.

    Args:
        paths: absolute. A link that is named stands for what it leads to; one met in a folder is an input that is
            rejected, as the daemon does it.
        exclude: folders that aren't entered, as far as they are met below those named.
    """
    files: set[str] = set()
    unlisted: dict[str, str] = {}

    def note(directory: str, error: OSError) -> None:
        unlisted[directory] = f"the folder can't be listed: {error.strerror}"

    passed_over = frozenset(str(each) for each in exclude) | frozenset(os.path.realpath(each) for each in exclude)
    for path in paths:
        try:
            top = os.path.realpath(path) if path.is_symlink() else str(path)
            is_folder = Path(top).is_dir()
        except PermissionError:
            top, is_folder = str(path), False  # why it can't be taken is said when it is looked at
        if is_folder:
            files.update(found for found, _ in reconcile.walk(top, passed_over, note))
        else:
            files.add(top)
    receipts = (Receipt(Path(path), None, "rejected", reason) for path, reason in sorted(unlisted.items()))
    return Named(tuple(sorted(map(Path, files))), tuple(receipts))


def look(
    path: Path, requested: str | None = None, *, force: bool = False, delete: bool = False, by: str = ""
) -> Source | Receipt:
    """Take a file as it stands now; the answer is a receipt if it can't be found.

    Args:
        path: absolute.
        requested: the id of the request that names it.
        force: that it is to be taken also if its content is known, or was deleted or rejected.
        delete: that it is to go once it is stored.
        by: who wants it, if it isn't the user this process works for.
    """
    try:
        # Whoever names a file says that it is complete.
        stamp = Stamp.of(path.lstat())
        return Source(path, stamp, "delete" if delete else "keep", requested, final=True, force=force, by=by)
    except OSError as error:
        return Receipt(path, None, "rejected", f"cannot be read: {error.strerror}")
