"""The measurements work: run with tiny counts, and judged by their table alone, for such figures mean nothing."""

import re
import subprocess
import sys

from tests.bench import table
from tests.bench.__main__ import GROUPS
from tests.bench.processes import REPOSITORY


def test_every_group_is_measured(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--scratch", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for heading in GROUPS.values():
        assert re.search(rf"^{re.escape(heading)}\n  \S", done.stdout, re.MULTILINE), done.stdout
    assert "CPU ms per instance of the straight line" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_figure_is_compared_with_its_budget() -> None:
    assert table.at_most("cost", 5.01, 5.0) == table.Row("cost", "5.01", "≤ 5.00", met=False)
    assert table.at_least("rate", 350, 350) == table.Row("rate", "350", "≥ 350", met=True)
    assert "MISSED" in table.as_text("heading", [table.at_most("cost", 5.01, 5.0)])


def test_the_page_keeps_what_stands_around_the_figures(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    text = table.as_page([("processor", "fast")], [("heading", [table.Row("cost", "1")])])
    for _ in range(2):
        table.write_into(page, text)
    assert page.read_text(encoding="utf-8") == f"before\n{table.BEGIN}\n{text}\n{table.END}\nafter\n"
    assert "| cost | 1 |  |" in text
