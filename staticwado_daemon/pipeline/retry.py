"""Trying again what wasn't stored: the receipt is withdrawn, and the file stands where files are taken from."""

from pathlib import Path

from staticwado_daemon.inbound import drop
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import STORED, Receipt


def withdraw(path: Path, journal: Journal, drop_dir: Path | None) -> list[Path | Receipt]:
    """Withdraw what became of a file that wasn't stored.

    Args:
        path: as its receipt has it.
        journal: of receipts.
        drop_dir: the drop folder, a real path. What was set aside from it comes back from its `rejected/`.

    Returns:
        where the file is to be taken now; several files where more than one of this name was set aside. The receipt
        instead of a file that needs no other try, or that isn't there.

    Raises:
        Transient: if the journal or the drop folder can't be changed now.
    """
    receipts = journal.find(path)
    if drop_dir and path.is_relative_to(drop_dir):
        if back := _bring_back(receipts, journal, drop_dir):
            return [*back]
    elif receipts and receipts[0].outcome in STORED:
        return [receipts[0]]
    found = look(path)
    if isinstance(found, Receipt):
        return [found]
    journal.forget(path)
    return [path]


def _bring_back(receipts: list[Receipt], journal: Journal, drop_dir: Path) -> list[Path]:
    """Move the files of these receipts back into the drop folder, as far as they were set aside."""
    back = []
    for receipt in receipts:
        if receipt.outcome in STORED or receipt.stamp is None:
            continue
        # The file first: should the receipt stay, the file is taken all the same.
        if place := drop.bring_back(drop_dir, receipt):
            journal.forget(receipt.path, removed=receipt.stamp)
            back.append(place)
    return back
