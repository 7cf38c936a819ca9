"""Every kind of object through the real program: docs/formats.md says what becomes of it, and nothing else does."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.corpus import test_files
from tests.formats.judgement import NOT_APPLICABLE, UNEXPLAINED, YES, Verdict, judge, reason, reasons
from tests.formats.page import PAGE, page
from tests.objects import objects

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
"""Some files are odd on purpose."""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Verdict]:
    return tuple(judge(tmp_path_factory.mktemp("formats")))


def test_the_page_is_what_is_found_now(verdicts: Sequence[Verdict]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(verdicts), "python -m tests.formats writes docs/formats.md"


def test_every_file_is_judged_once(verdicts: Sequence[Verdict], tmp_path: Path) -> None:
    expected = [*test_files(), *(f"objects/{made.name}" for made in objects(tmp_path))]
    assert sorted(verdict.name for verdict in verdicts) == sorted(expected)


def test_everything_stored_comes_back_byte_for_byte_transcoded_and_passed_through(verdicts: Sequence[Verdict]) -> None:
    stored = [verdict for verdict in verdicts if verdict.stored == YES]
    assert len(stored) > 450
    assert [verdict.name for verdict in stored if verdict.restored != YES] == []


def test_every_valid_object_is_stored(verdicts: Sequence[Verdict], tmp_path: Path) -> None:
    told = {verdict.name: verdict.stored for verdict in verdicts}
    for made in objects(tmp_path):
        stored = told[f"objects/{made.name}"]
        if made.outcome == "published":
            assert (made.name, stored) == (made.name, YES)
        else:
            assert stored.startswith(f"no: {made.outcome}: ")
            assert made.reason in stored


def test_every_no_has_its_reason(verdicts: Sequence[Verdict]) -> None:
    explained = set(reasons("frames").values())
    for verdict in verdicts:
        assert not verdict.thumbnail.endswith(UNEXPLAINED), verdict
        assert verdict.frames in {YES, NOT_APPLICABLE, *(f"no: {why}" for why in explained)}, verdict


@pytest.mark.parametrize(("table", "column"), [("frames", "frames"), ("thumbnail", "thumbnail"), ("files", "opens")])
def test_no_reason_is_given_in_vain(verdicts: Sequence[Verdict], table: str, column: str) -> None:
    given = {f"no: {reason(table, verdict.name)}" for verdict in verdicts if verdict.stored == YES}
    needed = {getattr(verdict, column) for verdict in verdicts}
    assert {f"no: {why}" for why in reasons(table).values()} <= given & needed
    for verdict in verdicts:
        if why := reason(table, verdict.name):
            assert getattr(verdict, column) in {f"no: {why}", NOT_APPLICABLE}, verdict


def test_no_sop_class_is_listed_in_vain(verdicts: Sequence[Verdict]) -> None:
    assert {f"no: {why}" for why in reasons("sop-classes").values()} <= {verdict.opens for verdict in verdicts}
