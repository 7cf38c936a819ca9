"""docs/verify.md says what the code finds and does; a sample is the same for the same seed."""

import re
from pathlib import Path

from staticwado_daemon.operate.verify.finding import KINDS, MEANINGS, MENDINGS
from staticwado_daemon.operate.verify.sample import EVERYTHING, Sample
from staticwado_daemon.pipeline.tidy import ORPHANS

PAGE = (Path(__file__).parents[2] / "docs/verify.md").read_text(encoding="utf-8")
PATHS = [f"studies/1.2/series/1.3/instances/1.4.{number}/frames/1.mht" for number in range(4000)]


def test_every_kind_is_documented_as_it_is() -> None:
    shown = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    assert shown == [(kind, MEANINGS[kind].sentence, MENDINGS[MEANINGS[kind].mending]) for kind in KINDS]


def test_where_orphans_go_is_documented() -> None:
    assert f"{ORPHANS}/" in PAGE
    assert f"{ORPHANS}/" in MENDINGS["set aside"]


def test_a_sample_is_that_share_and_the_same_again() -> None:
    today, tomorrow = Sample(5, "2026-03-01"), Sample(5, "2026-03-02")
    chosen = [path for path in PATHS if today.has(path)]
    assert 0.03 < len(chosen) / len(PATHS) < 0.07
    assert chosen == [path for path in PATHS if Sample(5, "2026-03-01").has(path)]
    assert chosen != [path for path in PATHS if tomorrow.has(path)]
    assert all(map(EVERYTHING.has, PATHS))
    assert not any(map(Sample(0, "").has, PATHS))


def test_a_larger_sample_has_the_smaller_one() -> None:
    assert {path for path in PATHS if Sample(1, "x").has(path)} < {path for path in PATHS if Sample(10, "x").has(path)}
