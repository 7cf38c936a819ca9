"""What is really in an inbound folder: scans that trust no event.

A scan is driven a portion at a time, so that it holds up nothing. Symbolic links are met, not followed. Nothing is
ever concluded from a file's absence: a folder may be unmounted, or somebody may be tidying up.
"""

import os
import stat
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator

from staticwado_daemon.inbound import names

Found = tuple[str, os.stat_result]
Report = Callable[[str, OSError], None]


def walk(top: str, exclude: Collection[str] = (), unreadable: Report | None = None) -> Iterator[Found]:
    """Yield the path and lstat result of everything below `top` that is no directory and has no temporary name.

    Regular files, links, FIFOs, sockets and devices alike: each deserves a receipt.

    Args:
        top: an absolute path; names that are not UTF-8 come with surrogate escapes.
        exclude: absolute paths of directories that are not entered.
        unreadable: called with the path of a directory that can't be listed, or not in full, and the reason.
    """
    for found in _steps(top, exclude, unreadable or _ignore):
        if found is not None:
            yield found


class Scans:
    """Which directories of a folder to scan next, and the scan under way. Not thread-safe.

    A new directory is scanned a moment after it was heard of, because its neighbours are about to come; one scan of
    a directory serves everything below it.
    """

    def __init__(self, root: str, exclude: Collection[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.begun = 0  # scans of the whole folder
        self.completed = 0  # the number of the last of them that came to its end
        self.seconds = 0.0  # how long the last of them took
        self.unreadable: frozenset[str] = frozenset()  # directories that it could not list
        self._root = root
        self._exclude = exclude
        self._clock = clock
        self._wanted: dict[str, float] = {}
        self._queue: list[str] = []
        self._current: tuple[str, Generator[Found | None, None, None]] | None = None
        self._began = 0.0
        self._failed: set[str] = set()

    @property
    def next_due(self) -> float | None:
        """The clock time at which there is something to scan; None if nothing is wanted."""
        if self._current or self._queue:
            return self._clock()
        return min(self._wanted.values(), default=None)

    @property
    def pending(self) -> bool:
        """Whether part of the folder is yet to be scanned, on account of what was heard. From any thread."""
        # In the direction in which a directory goes, so that one that moves on meanwhile is met at its next place.
        if self._wanted or self._queue:
            return True
        current = self._current
        return current is not None and current[0] != self._root

    def want(self, directory: str, delay: float = 0.0) -> None:
        """Scan `directory` and all below it, `delay` seconds from now or earlier."""
        due = self._clock() + delay
        self._wanted[directory] = min(due, self._wanted.get(directory, due))

    def forget(self) -> None:
        """Drop everything wanted and under way; no directory stays open."""
        self._wanted.clear()
        self._queue.clear()
        if self._current is not None:
            self._current[1].close()
        self._current = None
        self.begun = self.completed

    def portion(self, seconds: float) -> Iterator[Found]:
        """Scan for about so many seconds, then stop; the next portion goes on from there."""
        until = self._clock() + seconds
        while (current := self._current or self._begin()) is not None:
            top, steps = current
            for found in steps:
                if found is not None:
                    yield found
                if self._clock() >= until:
                    return
            self._current = None
            if top == self._root:
                self.completed = self.begun
                self.seconds = self._clock() - self._began
                self.unreadable = frozenset(self._failed)

    def _begin(self) -> tuple[str, Generator[Found | None, None, None]] | None:
        # What moves on is put in its next place before it leaves the one before: see `pending`.
        now = self._clock()
        if not self._queue:
            due = [directory for directory, when in self._wanted.items() if when <= now]
            # watchdog takes a symbolic link to a directory for one; it is an input, to be rejected, and not a way.
            self._queue = outermost(each for each in due if each == self._root or not _is_link(each))
            for directory in due:
                del self._wanted[directory]
        if not self._queue:
            return None
        top = self._queue[-1]
        if top == self._root:
            self.begun += 1
            self._began = now
            self._failed = set()
        self._current = top, _steps(top, self._exclude, self._note)
        self._queue.pop()
        return self._current

    def _note(self, directory: str, _error: OSError) -> None:
        self._failed.add(directory)


def outermost(directories: Iterable[str]) -> list[str]:
    """Leave out every directory that lies below another one."""
    kept: list[str] = []
    # With the separator at the end, a directory sorts directly before everything below it.
    for directory in sorted(f"{directory}/" for directory in directories):
        if not kept or not directory.startswith(kept[-1]):
            kept.append(directory)
    return [directory[:-1] for directory in kept]


def _steps(top: str, exclude: Collection[str], report: Report) -> Generator[Found | None, None, None]:
    """Walk as `walk` does, with a None after each directory: trees without files must not hold up the driver."""
    pending = [top]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not names.skip_directory(entry.name) and entry.path not in exclude:
                            pending.append(entry.path)
                    elif names.reason_to_skip(entry.name) is None:
                        status = _status(entry, report)
                        if status is not None:
                            yield entry.path, status
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was removed since it was listed
        except OSError as error:
            report(directory, error)
        yield None


def _status(entry: "os.DirEntry[str]", report: Report) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # it was renamed or removed since it was listed
    except OSError as error:
        # The directory may be listed but not searched, or its disk fails here and there: go on with the others.
        report(entry.path.rpartition("/")[0], error)
        return None


def _ignore(_directory: str, _error: OSError) -> None:
    return


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False
