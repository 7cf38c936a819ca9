"""No two versions of a file have the same mtime second and size, of which web servers make the ETag."""

from pathlib import Path

from staticwado_daemon.archive.store import Store

PATH = "studies/1.2/metadata.gz"


def test_versions_of_one_size_differ_across_restarts(tmp_path: Path) -> None:
    tags = []
    for _ in range(3):
        with Store(tmp_path) as store:
            for number in range(10):
                store.put(PATH, f"{number}".encode())
                status = (tmp_path / PATH).stat()
                tags.append((int(status.st_mtime), status.st_size))
    assert len(set(tags)) == len(tags)
