import pytest

from staticwado_daemon.inbound.names import reason_to_skip, skip_directory, skip_path


@pytest.mark.parametrize(
    "name",
    [
        ".IM0001.dcm.a8XkQ2",  # rsync
        ".IM0001.dcm",
        ".nfs000000000012",
        "._IM0001.dcm",
        ".DS_Store",
        "IM0001.dcm.part",
        "IM0001.dcm.PART",
        "IM0001.tmp",
        "IM0001.dcm.filepart",
        "IM0001.dcm.crdownload",
        "IM0001.dcm.partial",
        "IM0001.dcm~",
        "~$report.docx",
        "~syncthing~IM0001.dcm.tmp",
        "Thumbs.db",
        "desktop.ini",
        ".caf\udce9.dcm.XYZabc",
    ],
)
def test_temporary_names_and_litter_are_passed_over(name: str) -> None:
    assert reason_to_skip(name)


@pytest.mark.parametrize(
    "name",
    [
        "IM0001.dcm",
        "IM0001",
        "1.2.840.113619.2.55",
        "CT.part.dcm",
        "tmp",
        "a~b",
        "part",
        "DICOMDIR",
        "caf\udce9.dcm",
        "1",
    ],
)
def test_other_names_are_inputs(name: str) -> None:
    assert reason_to_skip(name) is None


@pytest.mark.parametrize(
    "name",
    [".~tmp~", ".rsync-partial", ".stfolder", ".stversions", "@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "x.tmp"],
)
def test_directories_without_inputs(name: str) -> None:
    assert skip_directory(name)


def test_other_directories_are_entered() -> None:
    assert not any(skip_directory(name) for name in ("Müller", "IMAGES", "2024", "tmp", "1.2.3"))


def test_every_component_of_a_path_counts() -> None:
    assert skip_path("study/@eaDir/IM0001.dcm")
    assert skip_path(".~tmp~/IM0001.dcm")
    assert skip_path("study/series/IM0001.dcm.part")
    assert not skip_path("study/series/IM0001.dcm")
    assert not skip_path("IM0001.dcm")
