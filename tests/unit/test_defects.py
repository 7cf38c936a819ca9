"""docs/defects.md: every known defect of static-wado has its row, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/defects.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+[a-c]?) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
SEVERAL = {3: "ab", 7: "ab", 10: "abc", 14: "ab", 17: "ab"}
NUMBERS = [f"{number}{letter}" for number in range(1, 25) for letter in SEVERAL.get(number, [""])]

# What starts a shell, or runs text as code.
FORBIDDEN = {"eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def test_every_number_has_its_row_in_order() -> None:
    assert [number for number, *_ in ROWS] == NUMBERS
    assert len(NUMBERS) == 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_refers_to_exists(row: tuple[str, ...]) -> None:
    shown_by = row[3]
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)
    links = re.findall(r"\]\(([^)]+)\)", shown_by)
    assert tests or links
    for file, name in tests:
        assert name in _functions(file)
    for link in links:
        page, _, heading = link.partition("#")
        text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
        assert not heading or heading in [_anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]


def test_no_shell_is_started_and_no_text_becomes_code() -> None:
    files = sorted((REPOSITORY / "staticwado_daemon").rglob("*.py"))
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in FORBIDDEN, file
                assert not any(keyword.arg == "shell" for keyword in node.keywords), file


@cache
def _functions(file: str) -> set[str]:
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _anchor(title: str) -> str:
    """A heading as links name it."""
    return re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-")
