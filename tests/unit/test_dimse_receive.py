"""C-STORE: what comes is in the drop folder as it came, whole and durable, or not at all and said so."""

import errno
import json
import os
import random
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.dicom import outline, part10
from staticwado_daemon.dicom.data_set import EXPLICIT_LITTLE
from staticwado_daemon.dicom.data_set import Limits as ReadingLimits
from staticwado_daemon.dicom.transfer_syntaxes import known, transfer_syntax
from staticwado_daemon.dimse.implementation import CLASS_UID
from staticwado_daemon.dimse.receiving import durable
from staticwado_daemon.errors import Incomplete, Rejected
from staticwado_daemon.inbound import drop, refused
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.parts import Parts
from staticwado_daemon.pipeline.retry import withdraw
from staticwado_daemon.pipeline.space import Space
from tests import corpus
from tests.crash.test_full_disk import mounted
from tests.unit.dicom_bytes import element
from tests.unit.dimse_peer import CT, EXPLICIT, Told, associated, parts, receiving, whole

OUT_OF_RESOURCES, MISMATCH, UNUSABLE = 0xA700, 0xA900, 0xC000


def uid(tag: int, text: str) -> bytes:
    return element(tag, "UI", text.encode() + b"\0" * (len(text) % 2))


def data_set(instance: str = "1.2.3", size: int = 1000, study: str = "1.2.1", sop_class: str = CT) -> bytes:
    """A small object with noise for pixels."""
    return b"".join(
        (
            uid(0x00080016, sop_class),
            uid(0x00080018, instance),
            uid(0x0020000D, study),
            uid(0x0020000E, "1.2.2"),
            element(0x7FE00010, "OW", random.Random(size).randbytes(size)),
        )
    )


def body(path: Path) -> bytes:
    """The data set of a Part 10 file, byte for byte."""
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


@dataclass(frozen=True, slots=True)
class Object:
    """A file of the test data, by what a request says of it; the line takes it or doesn't."""

    path: Path
    sop_class: str
    instance: str
    syntax: str
    is_taken: bool


@cache
def objects() -> list[Object]:
    """Objects with all their UIDs in files with a head, in every transfer syntax that there is of them."""
    files = [path for path in corpus.instances().values() if path.read_bytes()[128:132] == b"DICM"]
    found = []
    with warnings.catch_warnings(action="ignore"):  # some of the data isn't as it should be
        for path in files:
            image = pydicom.dcmread(path, stop_before_pixels=True)
            if syntax := image.file_meta.get("TransferSyntaxUID"):
                sop_class, instance = str(image.SOPClassUID), str(image.SOPInstanceUID)
                found.append(Object(path, sop_class, instance, str(syntax), is_taken(path)))
    return found


def is_taken(path: Path) -> bool:
    try:
        part10.read(path.read_bytes(), ReadingLimits(), lambda digest: digest)
    except Rejected:
        return False
    return True


def test_what_comes_is_stored_bit_for_bit_in_every_transfer_syntax(tmp_path: Path) -> None:
    contexts = list(dict.fromkeys((each.sop_class, each.syntax) for each in objects()))
    told: dict[Object, Told] = {}
    with receiving(tmp_path) as port:
        for start in range(0, len(contexts), 100):
            some = contexts[start : start + 100]
            with associated(port, some) as peer:
                for each in objects():
                    if (kind := (each.sop_class, each.syntax)) in some:
                        number = 2 * some.index(kind) + 1
                        told[each] = peer.store(each.sop_class, each.instance, body(each.path), context=number)
                peer.release()
    stored = {body(path): path for path in whole(tmp_path)}
    for each, answer in told.items():
        if answer.status:
            assert not each.is_taken, (each, answer)
        else:
            head = pydicom.filereader.read_file_meta_info(stored[body(each.path)])
            assert head.TransferSyntaxUID == each.syntax
    assert len(told) == len(objects())
    assert len({each.syntax for each, answer in told.items() if not answer.status}) > 10, "what is sent is poor"
    assert len(whole(tmp_path)) > 0.95 * len(objects())
    assert not parts(tmp_path)


def test_the_head_says_whence_and_whither_and_nothing_random(tmp_path: Path) -> None:
    with receiving(tmp_path) as port:
        for _ in range(2):
            with associated(port, calling="CT SCANNER", called="HERE") as peer:
                assert peer.store(CT, "1.2.3", data_set()) == Told(0)
    first, second = whole(tmp_path)
    assert first.read_bytes() == second.read_bytes()
    head = pydicom.filereader.read_file_meta_info(first)
    assert head.MediaStorageSOPClassUID == CT
    assert head.MediaStorageSOPInstanceUID == "1.2.3"
    assert head.TransferSyntaxUID == EXPLICIT
    assert head.ImplementationClassUID == CLASS_UID
    assert (head.SourceApplicationEntityTitle, head.SendingApplicationEntityTitle) == ("CT SCANNER", "CT SCANNER")
    assert head.ReceivingApplicationEntityTitle == "HERE"
    part10.read(first.read_bytes(), ReadingLimits(), lambda digest: digest)


def test_every_transfer_syntax_that_has_a_name_is_taken(tmp_path: Path) -> None:
    # Of big endian there is test data.
    syntaxes = [each.uid for each in known() if each.encoding.little_endian]
    with receiving(tmp_path) as port, associated(port, [(CT, syntax) for syntax in syntaxes]) as peer:
        for number, syntax in enumerate(syntaxes):
            sent = bytes(100) if transfer_syntax(syntax).deflated else data_set(str(number))
            # Whatever is said: what isn't there as announced is read as it looks.
            assert peer.store(CT, str(number), sent, context=2 * number + 1) == Told(0), syntax
    found = [pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID for path in whole(tmp_path)]
    assert found == syntaxes


def test_private_classes_syntaxes_and_elements_are_stored(tmp_path: Path) -> None:
    private = "1.2.276.0.99.1"
    sent = data_set(sop_class=private) + element(0x7FE10010, "LO", b"ACME") + element(0x7FE11001, "UN", b"\0\1\2\3")
    with receiving(tmp_path) as port, associated(port, [(private, "1.2.276.0.99.2")]) as peer:
        assert peer.store(private, "1.2.3", sent) == Told(0)
    assert [body(path) for path in whole(tmp_path)] == [sent]


def test_names_are_in_the_order_of_reception_whatever_the_clock_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop.prepare(tmp_path)
    before = Parts(tmp_path)
    names = [before.name(), before.name()]
    (tmp_path / names[-1]).touch()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**15)
    names += [before.name()]
    (tmp_path / names[-1]).touch()
    after = Parts(tmp_path)  # the process is started anew, with the clock still wrong
    names += [after.name()]
    before.close()
    after.close()
    assert names == sorted(names)
    assert len(set(names)) == 4


def test_nothing_is_written_beneath_a_mount_that_is_gone(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m"):
        drop.prepare(disk / "drop")
        receiver = Parts(disk / "drop")
        os.close(receiver.new()[1])
    with pytest.raises(OSError, match="isn't mounted"):
        receiver.new()
    assert list(disk.iterdir()) == []
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    try:
        path, descriptor = receiver.new()
        os.close(descriptor)
        assert path.exists()
        receiver.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_drop_folder_that_is_removed_is_made_again_but_a_link_is_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "drop", tmp_path / "elsewhere"
    drop.prepare(folder)
    elsewhere.mkdir()
    receiver = Parts(folder)
    shutil.rmtree(folder)
    os.close(receiver.new()[1])
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    with pytest.raises(OSError, match="link"):
        receiver.new()
    assert list(elsewhere.iterdir()) == []
    receiver.close()


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    drop.prepare(tmp_path)
    dead = tmp_path / drop.PART / "receiver-0badcafe"
    dead.mkdir()
    (dead / "0").write_bytes(b"half")
    stranger = tmp_path / drop.PART / "upload.tmp"
    stranger.write_bytes(b"somebody else's")
    with receiving(tmp_path) as one, associated(one) as peer:
        assert not dead.exists()
        peer.request(1, CT, "1.2.3")
        peer.fragment(1, 0, data_set()[:100])
        until(lambda: len(parts(tmp_path)) == 2)
        with receiving(tmp_path):
            assert len(parts(tmp_path)) == 2
        peer.fragment(1, 2, data_set()[100:])
        assert peer.told() == Told(0)
    assert [body(path) for path in whole(tmp_path)] == [data_set()]
    assert parts(tmp_path) == [stranger]


@pytest.mark.parametrize("end", ["abort", "reset", "close"])
def test_what_was_complete_stays_and_what_was_not_goes(tmp_path: Path, end: str) -> None:
    chance = random.Random(end)
    with receiving(tmp_path) as port:
        for number in range(10):
            with associated(port) as peer:
                assert peer.store(CT, f"1.2.{number}", data_set(f"1.2.{number}")) == Told(0)
                sent = data_set("9.9", 200_000)
                peer.request(1, CT, "9.9")
                for start in range(0, chance.randrange(1, len(sent)), 16_000):
                    peer.fragment(1, 0, sent[start : start + 16_000])
                if end == "abort":
                    peer.pdu(7, bytes(4))
                elif end == "reset":
                    peer.connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of no time
        until(lambda: not parts(tmp_path))
    assert [body(path) for path in whole(tmp_path)] == [data_set(f"1.2.{number}") for number in range(10)]
    assert not list((tmp_path / drop.REJECTED).iterdir())


def test_several_associations_store_at_once(tmp_path: Path) -> None:
    told: list[Told] = []

    def send(number: int) -> None:
        with associated(port) as peer:
            names = [f"1.{number}.{each}" for each in range(20)]
            told.extend(peer.store(CT, name, data_set(name, 50_000)) for name in names)

    with receiving(tmp_path) as port:
        senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert told == [Told(0)] * 80
    sent = {data_set(f"1.{number}.{each}", 50_000) for number in range(4) for each in range(20)}
    assert {body(path) for path in whole(tmp_path)} == sent


REFUSED = {
    "cut off": (data_set()[:-7], UNUSABLE, "the data set ends inside an element"),
    "empty": (b"", UNUSABLE, "the data set is empty"),
    "another class": (
        data_set(sop_class="1.2.840.10008.5.1.4.1.1.4"),
        MISMATCH,
        "SOP Class UID of data set and request differ",
    ),
    "another instance": (data_set("1.2.4"), MISMATCH, "SOP Instance UID of data set and request differ"),
    "no study": (data_set(study=""), UNUSABLE, "Study Instance UID missing"),
    "a study that is none": (data_set(study="../../etc"), UNUSABLE, "Study Instance UID invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_of_no_use_is_refused_and_kept_with_a_receipt(tmp_path: Path, name: str) -> None:
    sent, status, reason = REFUSED[name]
    folder = tmp_path / "drop"
    with receiving(folder) as port, associated(port) as peer:
        assert peer.store(CT, "1.2.3", sent) == Told(status, reason)
        assert peer.store(CT, "1.2.5", data_set("1.2.5")) == Told(0)
    (kept,) = (folder / drop.REJECTED).glob("*.dcm")
    assert body(kept) == sent
    assert json.loads(kept.with_name(kept.name + drop.REASON_SUFFIX).read_bytes())["reason"] == reason
    journal = Journal(tmp_path / "journal.sqlite")
    (receipt,) = refused.take(folder, journal)
    assert journal.counts()["rejected"] == 1
    assert [each.reason for each in journal.having("rejected")] == [reason]
    assert refused.take(folder, journal) == []
    # Somebody has it tried again.
    assert withdraw(receipt.path, journal, folder) == [receipt.path]
    assert body(receipt.path) == sent
    assert journal.counts()["rejected"] == 0
    journal.close()


def test_a_note_that_is_damaged_costs_nothing_but_itself(tmp_path: Path) -> None:
    notes = tmp_path / "drop" / refused.NOTES
    notes.mkdir(parents=True)
    for number, text in enumerate(('{"reason"', "[]", '{"stamp": [1, 2], "reason": "", "identity": null, "at": 1}')):
        (notes / f"{number}.json").write_text(text)
    journal = Journal(tmp_path / "journal.sqlite")
    assert refused.take(tmp_path / "drop", journal) == []
    assert list(notes.iterdir()) == []
    journal.close()


def test_an_instance_uid_that_is_none_is_refused(tmp_path: Path) -> None:
    with receiving(tmp_path) as port, associated(port) as peer:
        assert peer.store(CT, "../1.2.3", data_set()).status == UNUSABLE
        assert peer.store("no class", "1.2.3", data_set()).status == UNUSABLE
        assert peer.store(CT, "1.2.\xe9", data_set()).status == UNUSABLE
        assert peer.store(CT, "1" * 60_000, data_set()).status == UNUSABLE
    assert not whole(tmp_path)


def test_with_too_little_room_left_nothing_is_stored(tmp_path: Path) -> None:
    space = Space(tmp_path, 1 << 60, 0)
    with receiving(tmp_path, spaces=[space]) as port, associated(port) as peer:
        assert peer.store(CT, "1.2.3", data_set()) == Told(OUT_OF_RESOURCES, "too little space is left")
        space._minimum_bytes, space._looked = 0, 0.0
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)
    assert len(whole(tmp_path)) == 1


def test_an_object_above_the_maximum_is_refused(tmp_path: Path) -> None:
    with receiving(tmp_path, maximum=100_000) as port, associated(port) as peer:
        told = peer.store(CT, "1.2.3", data_set(size=200_000))
        assert told == Told(OUT_OF_RESOURCES, "the object exceeds the maximum size")
        assert not parts(tmp_path)
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)


@contextmanager
def disk(directory: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_full_disk_is_told_and_an_empty_one_taken(tmp_path: Path) -> None:
    full = Told(OUT_OF_RESOURCES, f"can't be stored: {os.strerror(errno.ENOSPC)}")
    with disk(tmp_path / "disk") as folder, receiving(folder) as port, associated(port) as peer:
        assert peer.store(CT, "1.2.3", data_set(size=5 << 20)) == full
        assert not parts(folder)
        assert peer.store(CT, "1.2.3", data_set(size=1 << 20)) == Told(0)


def test_a_drop_folder_that_became_read_only_is_told(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as folder, receiving(folder) as port, associated(port) as peer:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        refusal = Told(OUT_OF_RESOURCES, f"can't be stored: {os.strerror(errno.EROFS)}")
        assert peer.store(CT, "1.2.3", data_set()) == refusal
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_no_success_without_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    with receiving(tmp_path) as port, associated(port) as peer:

        def failing(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            assert peer.store(CT, "1.2.3", data_set()).status == OUT_OF_RESOURCES
        assert not parts(tmp_path)
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)


def test_the_answer_comes_after_bytes_name_and_folder_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut at any moment before the answer may cost the object, and after it nothing."""
    steps: list[str] = []
    synced, may_end = threading.Event(), threading.Event()

    def fdatasync(descriptor: int) -> None:
        steps.append(f"bytes: {os.fstat(descriptor).st_size}, whole: {len(whole(tmp_path))}")

    def fsync(_: int) -> None:
        steps.append(f"folder, whole: {len(whole(tmp_path))}")
        synced.set()
        may_end.wait(20)

    with receiving(tmp_path) as port, associated(port) as peer, monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fdatasync)
        patch.setattr(os, "fsync", fsync)
        answers: list[Told] = []
        sender = threading.Thread(target=lambda: answers.append(peer.store(CT, "1.2.3", data_set())))
        sender.start()
        assert synced.wait(20)
        time.sleep(0.2)
        assert answers == []
        may_end.set()
        sender.join()
    assert answers == [Told(0)]
    (path,) = whole(tmp_path)
    assert steps == [f"bytes: {path.stat().st_size}, whole: 0", "folder, whole: 1"]


def test_a_part_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with receiving(tmp_path) as port, associated(port) as peer:
        for path in (tmp_path / drop.PART).iterdir():
            path.rmdir()
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)


def test_one_sync_serves_all_who_came_while_another_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is alone and doesn't wait; three come during its sync; one more sync is enough for them."""
    folder, begun, may_end, syncs = durable.Folder(tmp_path), threading.Event(), threading.Event(), []

    def slow(_: int) -> None:
        syncs.append(1)
        begun.set()
        may_end.wait(10)

    monkeypatch.setattr(os, "fsync", slow)
    takers = [threading.Thread(target=take, args=(folder, tmp_path, number)) for number in range(4)]
    takers[0].start()
    begun.wait(10)
    for taker in takers[1:]:
        taker.start()
    until(lambda: len(list(tmp_path.glob("kept-*"))) == 4)
    time.sleep(0.1)
    assert len(syncs) == 1
    may_end.set()
    for taker in takers:
        taker.join(10)
    assert len(syncs) == 2


def take(folder: durable.Folder, directory: Path, number: int) -> None:
    path = directory / f"part-{number}"
    path.write_bytes(b"whole")
    with path.open("rb") as file:
        folder.take(file.fileno(), path, f"kept-{number}")


def test_a_walk_comes_to_the_end_of_every_data_set_and_misses_what_was_cut_off() -> None:
    chance = random.Random(1)
    walked = 0
    for each in objects():
        data = each.path.read_bytes()
        head = len(data) - len(body(each.path))
        syntax = transfer_syntax(each.syntax)
        if syntax.deflated or not each.is_taken:
            continue
        found = outline.read(data, head, syntax.encoding, {0x00080018})
        if not found.walked:
            continue
        walked += 1
        assert found.values[0x00080018].rstrip(b"\0 ").decode() == each.instance
        for _ in range(5):
            end = chance.randrange(head, len(data))
            try:
                outline.read(data[:end], head, syntax.encoding, ())
            except Incomplete:
                continue
            # Cut between two elements, or in what is too short for one.
            assert_ends_between_elements(data[:end], head, data)
    assert walked > 0.9 * len(objects())


def test_a_walk_gives_up_where_there_is_no_end_of_headers() -> None:
    endless = data_set() + element(0x00090010, "LO") * 300_000
    found = outline.read(endless, 0, EXPLICIT_LITTLE, {0x00080018})
    assert (found.walked, found.values) == (False, {0x00080018: b"1.2.3\0"})


def assert_ends_between_elements(cut: bytes, head: int, data: bytes) -> None:
    """That what is left is the beginning of the whole, element by element."""
    left = pydicom.dcmread(pydicom.filebase.DicomBytesIO(cut), force=True)
    every = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), force=True)
    assert all(left[tag] == every[tag] for tag in left.keys()), head  # noqa: SIM118 - iterating would decode


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
