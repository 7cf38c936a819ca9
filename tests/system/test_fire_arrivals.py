"""More files at once than the kernel can tell of: none is lost, and none is taken twice."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.victim import Site
from tests.system.fire import Template, log_events, overflow_queue, started, stopped, until_all_published, write_tree

counts = pytest.mark.parametrize("files", [3_000, pytest.param(30_000, marks=pytest.mark.soak)])


@pytest.fixture
def template(tmp_path: Path) -> Template:
    return Template.make(tmp_path / "template")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    # No scan but those for a reason of their own: what is found late is not found.
    return Site(tmp_path / "site").prepare(reconcileSeconds=3600)


@counts
def test_while_the_daemon_is_stopped(site: Site, template: Template, files: int) -> None:
    with started(site) as victim:
        with stopped(victim):
            overflow_queue(site.inbound)  # so that of the files not one event is left
            expected = write_tree(site.inbound, template, range(files))
        until_all_published(victim, expected)
        assert log_events(site, "inotify_overflow")


@pytest.mark.soak
def test_more_files_than_the_queue_holds_while_the_daemon_is_stopped(site: Site, template: Template) -> None:
    with started(site) as victim:
        with stopped(victim):
            # Side by side: of what comes into a new directory, which nobody watches yet, there are no events.
            expected = Counter(template.instance(number) for number in range(30_000))
            for number, data in enumerate(expected):
                (site.inbound / f"IM{number:05}.dcm").write_bytes(data)
        until_all_published(victim, expected)
        assert log_events(site, "inotify_overflow")


@counts
def test_a_whole_tree_is_moved_in(tmp_path: Path, site: Site, template: Template, files: int) -> None:
    expected = write_tree(tmp_path / "tree", template, range(files))
    with started(site) as victim:
        (tmp_path / "tree").rename(site.inbound / "tree")
        until_all_published(victim, expected)


@counts
def test_five_times_cp_and_once_rsync_at_a_time(tmp_path: Path, site: Site, template: Template, files: int) -> None:
    rsync = shutil.which("rsync")
    assert rsync, "rsync is missing: install the package rsync"
    expected: Counter[bytes] = Counter()
    with started(site) as victim:
        copies = []
        for copy in range(6):
            top = tmp_path / f"tree{copy}"
            expected += write_tree(top, template, range(copy * files // 6, (copy + 1) * files // 6))
        for copy in range(6):
            program = [rsync, "-a"] if copy == 5 else ["cp", "-r"]
            copies.append(subprocess.Popen([*program, tmp_path / f"tree{copy}", site.inbound / f"copy{copy}"]))
        assert [copy.wait() for copy in copies] == [0] * 6
        until_all_published(victim, expected)
