"""From settings to a running line: the one place where the parts are put together."""

import functools
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon import log
from staticwado_daemon.errors import ConfigError, StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon import config
    from staticwado_daemon.archive.lock import Role
    from staticwado_daemon.config import Storage
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline.images import Images
    from staticwado_daemon.pipeline.ingest import Rules
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.space import Space

JOURNAL = "journal.sqlite"
"""Below the state directory."""

_POLL_SECONDS = 0.2

_LEAST_MEMORY = 1 << 30
"""Bytes; less would reject ordinary multi-frame objects on a small machine."""


@contextmanager
def open_line(storage: "Storage", level: log.Level, *, role: "Role") -> Iterator[tuple["Line", "Journal"]]:
    """Start the line of a tree, in this process's stead as the tree's one writer.

    Raises:
        ConfigError: if the root can't be written to or is inside another tree, or another process is writing there.
    """
    from staticwado_daemon.archive import layout, query_tables
    from staticwado_daemon.archive.store import Store
    from staticwado_daemon.cli.preflight import nesting_errors
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline import publishing
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.workers import WorkerProcesses

    for problem in nesting_errors(storage.root):
        raise ConfigError(problem)
    log.configure(level)
    prepare = functools.partial(log.configure, level)
    with Store(storage.root, storage.group, wait_seconds=publishing.LOCK_SECONDS):
        pass  # the tree with its rights stands before anything of ours is put into it
    storage.state_dir.mkdir(parents=True, exist_ok=True)
    staging = storage.root / layout.STAGING
    workers = WorkerProcesses(storage.workers, rules_of(storage), _memory_share(storage.workers), prepare, staging)
    publish = functools.partial(
        publishing.run,
        root=storage.root,
        group=storage.group,
        role=role,
        prepare=prepare,
        query_index=storage.state_dir / query_tables.FILE,
    )
    with (
        closing(Journal(storage.state_dir / JOURNAL)) as journal,
        Line(storage.root, workers, journal, publish) as line,
    ):
        yield line, journal


@contextmanager
def line_or_daemon(storage: "Storage", level: log.Level) -> Iterator[tuple["Line", "Journal"] | None]:
    """Start the line of a tree for a command, or give None: then a daemon is running, and to be asked.

    Waits, saying so, for as long as another command is writing to the tree.

    Raises:
        ConfigError: if the root can't be written to.
    """
    from staticwado_daemon.archive.lock import lock_holder

    with ExitStack() as stack:
        opened = None
        while opened is None and _turn(storage.root) is None:
            try:
                opened = stack.enter_context(open_line(storage, level, role="create"))
            except StaticwadoError:
                if lock_holder(storage.root) is None:
                    raise
                # Somebody else was quicker by a moment.
        yield opened


def _turn(root: Path) -> "Role | None":
    """Wait until no other command is writing to the tree; say whether a daemon is."""
    from staticwado_daemon.archive.lock import lock_holder

    if lock_holder(root) == "create":
        click.echo(f"waiting for another command that is writing to {root}", err=True)
    while (holder := lock_holder(root)) == "create":
        time.sleep(_POLL_SECONDS)
    return holder


def space_of(storage: "Storage") -> "Space":
    """The room that is left on the disk of a tree, and how much of it has to stay."""
    from staticwado_daemon.pipeline.space import Space

    return Space(storage.root, storage.minimum_free_bytes, storage.minimum_free_inodes)


def rules_of(storage: "Storage") -> "Rules":
    """How instances are stored, in the words of the line."""
    from staticwado_daemon.dicom.part10 import Limits
    from staticwado_daemon.pipeline.ingest import Rules

    return Rules(
        images_of(storage.images),
        Limits(
            maximum_inline_public_length=storage.maximum_inline_public_length,
            maximum_inline_private_length=storage.maximum_inline_private_length,
        ),
    )


def images_of(wanted: "config.Images") -> "Images":
    """What becomes of frames, in the words of the line."""
    from staticwado_daemon.dicom.transcode import Choices
    from staticwado_daemon.pipeline.images import Alternates, Images

    return Images(
        choices=Choices(
            content_type=wanted.content_type,
            color_content_type=wanted.color_content_type,
            recompress=wanted.recompress,
            recompress_color=wanted.recompress_color,
            by_name=wanted.by_name,
        ),
        alternates=Alternates(wanted.alternate, wanted.alternate_name, thumbnails=wanted.alternate_thumbnail)
        if wanted.alternate
        else None,
        thumbnails=wanted.thumb,
        rendered=wanted.rendered,
    )


def _memory_share(workers: int) -> int:
    """Bytes that one worker may hold, so that all together don't bring the machine down."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(_LEAST_MEMORY, installed // (workers + 1))
