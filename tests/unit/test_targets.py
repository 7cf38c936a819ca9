"""What people may name: UIDs, their beginnings, paths."""

from pathlib import Path

import pytest

from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import ConfigError, StaticwadoError
from staticwado_daemon.operate.targets import resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for study in ("1.2.3", "1.2.4"):
        (tmp_path / f"studies/{study}/series/5.6/instances/7.8").mkdir(parents=True)
    (tmp_path / "deduplicated/1.9").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("1.2.3", ["studies/1.2.3"]),
        ("1.9", ["studies/1.9"]),
        ("studies/1.2.4/", ["studies/1.2.4"]),
        ("5.6", ["studies/1.2.3/series/5.6", "studies/1.2.4/series/5.6"]),
        ("studies/1.2.3/series/5.6", ["studies/1.2.3/series/5.6"]),
        ("7.8", ["studies/1.2.3/series/5.6/instances/7.8", "studies/1.2.4/series/5.6/instances/7.8"]),
    ],
)
def test_what_is_meant(root: Path, text: str, targets: list[str]) -> None:
    assert [str(each) for each in resolve(root, [text])] == targets


@pytest.mark.parametrize("text", ["5.7", "7.9", "studies/1.2.3/series/5.7", "studies/1.2.3/series/5.6/instances/7.9"])
def test_what_is_kept_but_not_shown_is_found(root: Path, text: str) -> None:
    (root / ".staticwado/kept/1.2.3/5.6/7.9").mkdir(parents=True)
    (root / ".staticwado/kept/1.2.3/5.7/7.7").mkdir(parents=True)
    (root / ".staticwado/kept/orphans/studies/5.7").mkdir(parents=True)
    (found,) = resolve(root, [text])
    assert str(found).endswith(text)
    assert found.study == "1.2.3"


def test_each_once(root: Path) -> None:
    assert resolve(root, ["1.2.3", "studies/1.2.3"]) == (Target(UID("1.2.3")),)


@pytest.mark.parametrize("text", ["../etc", "studies/x", "studies/1.2.3/instances/7.8", "nonsense"])
def test_what_is_no_target(root: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        resolve(root, [text])


@pytest.mark.parametrize("text", ["1.2", "9.9", "studies/1.2.3/series/9", "studies/9.9"])
def test_what_is_not_there_or_not_one(root: Path, text: str) -> None:
    with pytest.raises(StaticwadoError):
        resolve(root, [text])
