"""A study is rebuilt under constant reading: every answer is one whole version, and never an older one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.rebuilding import Known, Reader, rebuilding, views
from tests.system.servers import start_embedded, start_nginx_for

READERS = 4


@pytest.mark.parametrize("rebuilds", [100, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["nginx", "embedded"])
def test_readers_see_whole_versions_in_order(kind: str, rebuilds: int, tmp_path: Path) -> None:
    known, ended = Known(), threading.Event()
    with ExitStack() as stack:
        study = stack.enter_context(rebuilding(tmp_path))
        start = start_nginx_for(study.root, tmp_path / "prefix") if kind == "nginx" else start_embedded(study.root)
        server = stack.enter_context(start)
        pool = stack.enter_context(ThreadPoolExecutor(READERS))
        stack.callback(ended.set)
        readers = [Reader(server, study, known, seed) for seed in range(READERS)]
        reading = [pool.submit(reader.read, lambda: not ended.is_set()) for reader in readers]
        while study.done < rebuilds and not any(each.done() for each in reading):
            study.rebuild()
        ended.set()
        for each in reading:
            each.result()
    assert study.done == rebuilds
    assert set(known.answers) == {200, 304}
    assert sum(known.answers.values()) > rebuilds * len(views(study))
    for view in views(study):
        assert known.states(view) > rebuilds / 4, f"the readers of {view.url} were too slow to show anything"
