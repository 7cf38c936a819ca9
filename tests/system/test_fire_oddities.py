"""What lies in an inbound folder and is no ordinary file: each ends in one receipt, and holds nobody up."""

import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from staticwado_daemon.inbound.journal_reader import JournalReader
from staticwado_daemon.inbound.receipt import OUTCOMES, Receipt
from tests.crash.oracle import originals
from tests.crash.victim import Site
from tests.system.fire import Template, started

AS_AN_ORDINARY_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else ["env"]
"""Root may read everything; without these capabilities it may do what anybody may with files of their own."""

NOT_A_FILE = "not a regular file but "


@pytest.fixture
def template(tmp_path: Path) -> Template:
    return Template.make(tmp_path / "template")


def prepare(directory: Path, after_ingest: str = "keep", **daemon: object) -> Site:
    quick = {"settleSeconds": 0.2, "reconcileSeconds": 1, "incompleteSeconds": 2}
    return Site(directory, after_ingest).prepare(**{**quick, **daemon})


def all_receipts(site: Site) -> list[Receipt]:
    journal = JournalReader(site.journal)
    try:
        return [receipt for outcome in OUTCOMES for receipt in journal.having(outcome)]
    finally:
        journal.close()


def reasons(site: Site, top: Path) -> dict[str, str | None]:
    """The reason of each receipt by the path below a folder; each path has one receipt."""
    found = all_receipts(site)
    assert max(Counter(receipt.path for receipt in found).values()) == 1
    return {str(receipt.path.relative_to(top)): receipt.reason for receipt in found}


def make_oddities(top: Path, template: Template, elsewhere: Path) -> dict[str, str | None]:
    """Fill a folder with things; returns the reason that each is to get."""
    elsewhere.mkdir()
    (elsewhere / "a.dcm").write_bytes(template.instance(50))
    (top / "plain.dcm").write_bytes(template.instance(1))
    (top / "directory.dcm").mkdir()
    (top / "directory.dcm" / "inside.dcm").write_bytes(template.instance(2))
    (top / os.fsdecode(b"caf\xe9 \xff\n.dcm")).write_bytes(template.instance(3))
    (top / "first-name.dcm").write_bytes(template.instance(4))
    (top / "second-name.dcm").hardlink_to(top / "first-name.dcm")
    (top / "to-file").symlink_to(elsewhere / "a.dcm")
    (top / "to-directory").symlink_to(elsewhere)
    (top / "to-itself").symlink_to("to-itself")
    (top / "to-parent").symlink_to("..")
    (top / "to-nowhere").symlink_to("nowhere")
    os.mkfifo(top / "fifo.dcm")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "s"))
    (top / "empty.dcm").touch()
    (top / "cut.dcm").write_bytes(template.instance(5)[:1000])
    link = f"{NOT_A_FILE}a symbolic link"
    return {
        "plain.dcm": None,
        "directory.dcm/inside.dcm": None,
        os.fsdecode(b"caf\xe9 \xff\n.dcm"): None,
        "first-name.dcm": None,
        "second-name.dcm": None,
        **dict.fromkeys(["to-file", "to-directory", "to-itself", "to-parent", "to-nowhere"], link),
        "fifo.dcm": f"{NOT_A_FILE}a FIFO",
        "s": f"{NOT_A_FILE}a socket",
        "empty.dcm": "the file ends inside its preamble",
        "cut.dcm": "the file ends",
    }


def assert_reasons(found: dict[str, str | None], expected: dict[str, str | None]) -> None:
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert (found[name] or "").startswith(reason or ""), (name, found[name])
        assert (found[name] is None) == (reason is None), (name, found[name])


@pytest.mark.parametrize("arrival", ["there before", "moved in"])
def test_everything_ends_in_one_receipt(tmp_path: Path, template: Template, arrival: str) -> None:
    site = prepare(tmp_path / "s")
    top = site.inbound / "odd"
    beside = tmp_path / "s" / "prepared"
    beside.mkdir()
    expected = make_oddities(beside, template, tmp_path / "elsewhere")
    if os.geteuid() == 0:
        os.mknod(beside / "device", 0o600 | 0o020000, os.makedev(1, 3))
        expected["device"] = f"{NOT_A_FILE}a character device"
    if arrival == "there before":
        beside.rename(top)
    with started(site) as victim:
        if arrival == "moved in":
            beside.rename(top)
        victim.until(lambda: len(all_receipts(site)) == len(expected) and site.status()["idle"], "all receipts")
        assert_reasons(reasons(site, top), expected)
        victim.until(lambda: site.status()["instances"] == 4, "all instances")
        time.sleep(2.5)  # two more scans find nothing new
        assert_reasons(reasons(site, top), expected)
        whole = template.instance(5)
        (top / "cut.dcm").write_bytes(whole)
        victim.until(lambda: site.status()["instances"] == 5, "the rest of the file that was cut off")
        assert reasons(site, top)["cut.dcm"] is None
    assert originals(site.root) == Counter(template.instance(number) for number in range(1, 6))


def test_what_may_not_be_read_is_read_as_soon_as_it_may(tmp_path: Path, template: Template) -> None:
    site = prepare(tmp_path / "s")
    denied, closed = site.inbound / "denied.dcm", site.inbound / "closed"
    denied.write_bytes(template.instance(1))
    denied.chmod(0)
    closed.mkdir()
    (closed / "in.dcm").write_bytes(template.instance(2))
    closed.chmod(0)
    with started(site, *AS_AN_ORDINARY_USER) as victim:
        assert reasons(site, site.inbound) == {"denied.dcm": "no permission to read the file"}
        (said,) = site.status()["degraded"]
        assert "1 directories that can't be listed" in said
        closed.chmod(0o700)
        victim.until(lambda: site.status()["instances"] == 1, "what was in the closed directory")
        denied.chmod(0o600)
        victim.until(lambda: site.status()["instances"] == 2, "the file that may be read now")
        assert reasons(site, site.inbound) == {"denied.dcm": None, "closed/in.dcm": None}
        victim.until(lambda: site.status()["degraded"] == [], "all well again")


@pytest.mark.parametrize("mischief", ["link", "fifo", "other"])
def test_a_file_that_is_swapped_while_it_waits(tmp_path: Path, template: Template, mischief: str) -> None:
    """What is opened is not always what was looked at; neither is it ever waited for."""
    site = prepare(tmp_path / "s")
    secret = tmp_path / "secret.dcm"
    secret.write_bytes(template.instance(99))
    ending = threading.Event()
    path, beside = site.inbound / "a.dcm", site.inbound / ".beside"

    def swap() -> None:
        number = 0
        while not ending.is_set():
            number += 1
            beside.write_bytes(template.instance(number % 3))
            beside.rename(path)
            time.sleep(number % 23 / 100)  # now and then long enough for a look, or for a worker to open it
            if mischief == "link":
                beside.symlink_to(secret)
            elif mischief == "fifo":
                os.mkfifo(beside)
            else:
                beside.write_bytes(template.instance(3)[:1500])
            beside.rename(path)
            time.sleep(number % 19 / 100)

    with started(site) as victim:
        swapper = threading.Thread(target=swap)
        swapper.start()
        time.sleep(3)
        ending.set()
        swapper.join()
        path.unlink()
        path.write_bytes(template.instance(4))
        victim.until(lambda: site.status()["idle"] and reasons(site, site.inbound) == {"a.dcm": None}, "the last file")
    contents = originals(site.root)
    assert template.instance(4) in contents
    assert contents.keys() <= {template.instance(number) for number in range(5)}
    assert set(contents.values()) == {1}


def test_files_that_vanish_in_flight_leave_nothing_behind(tmp_path: Path, template: Template) -> None:
    """Somebody tidies up: a file that was read is published; one that wasn't was never an input."""
    site = prepare(tmp_path / "s", workers=1)
    with started(site) as victim:
        for number in range(300):
            path = site.inbound / f"{number}.dcm"
            path.write_bytes(template.instance(number))
            if number % 3:
                threading.Timer(number % 50 / 100, path.unlink).start()
        victim.until(lambda: len(list(site.inbound.iterdir())) == 100, "the tidying")
        victim.until(lambda: site.status()["idle"] and site.status()["instances"] >= 100, "what stays is published")
        found = all_receipts(site)
        assert {receipt.outcome for receipt in found} == {"published"}
        assert {path.name for path in site.inbound.iterdir()} <= {receipt.path.name for receipt in found}
        assert site.status()["instances"] == len(found)
