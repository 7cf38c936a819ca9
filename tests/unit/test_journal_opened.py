"""A journal that is read by others than its daemon: it may be absent, another version's, or damaged."""

import sqlite3
from pathlib import Path

import pytest

from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.journal_reader import opened


def test_one_that_may_be_absent_is_opened_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with opened(path) as reader:
        assert reader is None
    assert not path.exists()
    journal = Journal(path)
    with opened(path) as reader:
        assert reader
        assert sum(reader.counts().values()) == 0
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        reader.counts()
    journal._database.execute("PRAGMA user_version = 1")
    journal.close()
    with opened(path) as reader:
        assert reader is None
    path.write_bytes(b"no database at all, but long enough to be looked at" * 99)
    with pytest.raises(Corrupt), opened(path):
        pass
