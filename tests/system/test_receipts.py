"""Every input ends in exactly one receipt: all files of pydicom and pydicom-data, DICOM or not, in one run."""

import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests import corpus
from tests.system.programs import create, staticwado

OUTCOMES = ("published", "duplicate", "superseded", "rejected", "ignored")
EXPECTED: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).parents[1].joinpath("data/rejected.toml").read_text(encoding="utf-8")
)
"""The files that are rejected or ignored, and the reasons given."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("receipts") / "root"


@pytest.fixture(scope="module")
def answer(root: Path) -> dict[str, Any]:
    """What `create --json` says about all test files together."""
    return create(root, list(corpus.test_files().values()), expect=3)


@pytest.fixture(scope="module")
def receipts(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The receipts by the name of the test file."""
    names = {str(path): name for name, path in corpus.test_files().items()}
    return {names[receipt["path"]]: receipt for receipt in answer["receipts"]}


def test_each_file_has_one_receipt_and_the_counts_add_up(
    answer: dict[str, Any], receipts: dict[str, dict[str, Any]]
) -> None:
    assert len(answer["receipts"]) == len(receipts)
    assert set(receipts) == set(corpus.test_files())
    counted = Counter(receipt["outcome"] for receipt in answer["receipts"])
    assert {outcome: answer[outcome] for outcome in OUTCOMES} == {outcome: counted[outcome] for outcome in OUTCOMES}
    assert sum(answer[outcome] for outcome in OUTCOMES) == len(corpus.test_files())


@pytest.mark.parametrize("outcome", ["rejected", "ignored"])
def test_what_is_not_stored_is_expected_with_its_reason(receipts: dict[str, dict[str, Any]], outcome: str) -> None:
    reasons = {name: receipt["reason"] for name, receipt in receipts.items() if receipt["outcome"] == outcome}
    assert reasons == EXPECTED[outcome]


def test_each_instance_is_published_once(receipts: dict[str, dict[str, Any]]) -> None:
    stored = [r for r in receipts.values() if r["outcome"] in {"published", "duplicate", "superseded"}]
    assert all(receipt["sopInstanceUID"] for receipt in stored)
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for receipt in stored:
        outcomes[receipt["sopInstanceUID"]][receipt["outcome"]] += 1
    assert {uid: count["published"] for uid, count in outcomes.items()} == dict.fromkeys(outcomes, 1)


def test_the_same_files_again_are_duplicates_or_as_before(
    answer: dict[str, Any], receipts: dict[str, dict[str, Any]], root: Path
) -> None:
    again = create(root, list(corpus.test_files().values()), expect=3)
    assert again["duplicate"] == answer["published"] + answer["duplicate"] + answer["superseded"]
    assert (again["rejected"], again["ignored"]) == (answer["rejected"], answer["ignored"])
    before = {receipt["path"]: receipt["reason"] for receipt in receipts.values() if receipt["outcome"] == "rejected"}
    assert {r["path"]: r["reason"] for r in again["receipts"] if r["outcome"] == "rejected"} == before


def test_receipts_for_people_name_what_was_rejected(tmp_path: Path) -> None:
    truncated = corpus.test_files()["pydicom/test_files/MR_truncated.dcm"]
    good = corpus.test_files()["pydicom/test_files/CT_small.dcm"]
    said = staticwado("create", truncated, good, "--root", tmp_path / "root", expect=3)
    assert "MR_truncated.dcm" in said
    assert EXPECTED["rejected"]["pydicom/test_files/MR_truncated.dcm"] in said
