"""From settings to a running line: the one place where the parts are put together."""

import functools
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from staticwado_daemon import log

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline.line import Line

JOURNAL = "journal.sqlite"
"""Below the state directory."""

_TASK_SECONDS = 1800.0
"""What a batch may take before its worker is thought to hang: hours of CT, or one enormous slide."""

_LEAST_MEMORY = 1 << 30
"""Bytes; less would reject ordinary multi-frame objects on a small machine."""


@contextmanager
def open_line(storage: "Storage", level: log.Level) -> Iterator[tuple["Line", "Journal"]]:
    """Start the line of a tree, in this process's stead as the tree's one writer.

    Raises:
        ConfigError: if the root can't be written to, or another process is writing there.
    """
    from staticwado_daemon.archive.store import Store
    from staticwado_daemon.dicom.part10 import Limits
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline.ingest import Rules
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.publisher import LOCK_SECONDS
    from staticwado_daemon.pipeline.workers import WorkerProcesses

    log.configure(level)
    prepare = functools.partial(log.configure, level)
    rules = Rules(
        storage.content_type,
        Limits(
            maximum_inline_public_length=storage.maximum_inline_public_length,
            maximum_inline_private_length=storage.maximum_inline_private_length,
        ),
    )
    with Store(storage.root, storage.group, wait_seconds=LOCK_SECONDS):
        pass  # the tree with its rights stands before anything of ours is put into it
    storage.state_dir.mkdir(parents=True, exist_ok=True)
    workers = WorkerProcesses(storage.workers, rules, _TASK_SECONDS, _memory_share(storage.workers), prepare)
    with (
        closing(Journal(storage.state_dir / JOURNAL)) as journal,
        Line(storage.root, storage.group, workers, storage.workers, journal, prepare) as line,
    ):
        yield line, journal


def _memory_share(workers: int) -> int:
    """Bytes that one worker may hold, so that all together don't bring the machine down."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(_LEAST_MEMORY, installed // (workers + 1))
