"""The examples of docs/network.md are what the commands really print, but for addresses, sizes and times."""

import json
import re
import shlex
from pathlib import Path

import json5
import pytest

from staticwado_daemon.config import check, document
from tests import corpus
from tests.system import nodes, peers
from tests.system.programs import REPOSITORY, create, told
from tests.unit.test_docs import PROGRAMS, _check_command_line

PAGE = (REPOSITORY / "docs/network.md").read_text(encoding="utf-8")
EXAMPLES = "\n".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
SETTINGS = re.findall(r"((?:^    .*\n|^\n(?=    ))+)", PAGE, re.MULTILINE)


def test_the_examples_print_what_they_show(tmp_path: Path) -> None:
    ct = corpus.ct_study(tmp_path / "ct", instances=12, series=2, size=64)
    mr = corpus.mr_study(tmp_path / "mr", instances=4, series=1)
    sent = corpus.ct_study(tmp_path / "sent", instances=12, series=2, size=64)
    with peers.archive([*ct.files, *mr.files], title="PACS") as archive:
        node = nodes.prepare(tmp_path / "node", {"PACS": archive.port})
        create(node.root, sent.files)
        shown = re.findall(r"^\$ staticwado (.*)\n((?:(?!\$ ).*\n)*)", EXAMPLES, re.MULTILINE)
        assert len(shown) == 6
        for words, expected in shown:
            arguments = [sent.uid if each == "2.25.20852" else each for each in shlex.split(words)]
            printed = told("-c", node.config, *arguments).replace(f"127.0.0.1:{archive.port}", "10.1.2.3:104")
            assert _plain(printed) == _plain(expected), words


def _plain(text: str) -> str:
    return re.sub(r"\d[\d.]* (k?B|ms)\b", r"N \1", text).strip()


@pytest.mark.parametrize("text", SETTINGS)
def test_the_settings_are_valid(tmp_path: Path, text: str) -> None:
    text = re.sub(r"^ *// /etc.*$", "", text, flags=re.MULTILINE).strip().rstrip(",")
    values = json5.loads(text if text.startswith("{") else f"{{{text}}}")
    known = {"PACS": {"host": "10.1.2.3", "port": 104}}
    path = tmp_path / "static-wado.json5"
    path.write_text(json.dumps({"aeConfig": known, **values}))
    assert list(check.errors(document.read(path))) == []


def test_the_commands_exist() -> None:
    shown = re.findall(r"`staticwado( [^`]*)`", PAGE)
    assert shown
    for arguments in shown:
        _check_command_line(PROGRAMS["staticwado"], arguments.split(), arguments)
