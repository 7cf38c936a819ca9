"""`staticwado send`: studies to another node."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.asking import local_of, network_options, peer_of, quieten
from staticwado_daemon.cli.options import INTERRUPTED, Common, json_option, shared, warn
from staticwado_daemon.errors import StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon.archive.target import Target
    from staticwado_daemon.config import Storage
    from staticwado_daemon.dimse.association.requestor import Local
    from staticwado_daemon.dimse.peers import Peer
    from staticwado_daemon.dimse.sending.instances import Chosen
    from staticwado_daemon.dimse.sending.operations import Sent

_FAILED, _PARTLY = 1, 3
_SHOWN = 20
"""So many failures are told; --json tells them all."""

_EXAMPLES = """\b
Examples:
  staticwado send 1.2.840.99.1 --to PACS
  staticwado send studies/1.2.3/series/4.5 --to ARCHIVE@10.1.2.3:104
  staticwado send 1.2.840.99.1 --to PACS --skip-present
"""


@click.command(short_help="Send studies, series or instances to a node.", epilog=_EXAMPLES)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--to", "ae", metavar="AE", required=True, help="AE title of a node of aeConfig, or TITLE@HOST:PORT.")
@click.option("--skip-present", is_flag=True, help="Ask the node first (C-FIND), and send only what it hasn't got.")
@network_options
@json_option
@shared()
@click.pass_obj
def send(common: Common, targets: tuple[str, ...], *, ae: str, skip_present: bool, tls: bool) -> int:
    """Send studies, series or instances to another node (C-STORE).

    TARGET is a Study, Series or SOP Instance UID, as much of the beginning of one of the first two as no other begins
    with, or studies/S[/series/X[/instances/I]].

    The original is sent, bit for bit, where the node takes its transfer syntax, and uncompressed where not. What gets
    lost with the connection, or comes when the node has no room, is sent again, until nothing has come of it for half
    a minute.
    """
    return send_to(common, targets, ae, skip_present=skip_present, tls=tls)


@click.command(
    "cstore", short_help="Send studies to a node.", epilog="This is static-wado's name for `staticwado send`."
)
@click.argument("ae", metavar="AE")
@click.argument("targets", metavar="STUDYUID...", nargs=-1, required=True)
@network_options
@json_option
@shared()
@click.pass_obj
def cstore(common: Common, ae: str, targets: tuple[str, ...], *, tls: bool) -> int:
    """Send studies to another node: an AE title of aeConfig, or TITLE@HOST:PORT."""
    return send_to(common, targets, ae, skip_present=False, tls=tls)


def send_to(common: Common, targets: Sequence[str], ae: str, *, skip_present: bool, tls: bool) -> int:
    """Send, tell what became of it, and return the exit code."""
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.dimse.sending.instances import of_targets
    from staticwado_daemon.operate.targets import resolve

    quieten(common)
    configuration = common.configuration()
    storage = configuration.storage()
    require_tree(storage.root)
    meant = resolve(storage.root, targets)
    chosen = of_targets(storage.root, meant)
    if not chosen:
        raise StaticwadoError(f"{storage.root} has nothing published of {', '.join(map(str, meant))}")
    peer = peer_of(configuration, ae, tls=tls)
    local = local_of(configuration.scp(), tls=peer.tls)
    outcome = Outcome(peer)
    if skip_present:
        chosen = outcome.without(chosen, _present(local, peer, chosen))
    try:
        with _audited(storage.root, meant, outcome):
            _send(storage, local, chosen, outcome)
    except KeyboardInterrupt:
        done = f"{len(outcome.sent):,} of {len(chosen):,}"
        click.echo(f"interrupted after {done}; `staticwado send --skip-present` sends the rest", err=True)
        return INTERRUPTED
    return outcome.tell(as_json=common.as_json)


def _present(local: "Local", peer: "Peer", chosen: "Iterable[Chosen]") -> "frozenset[object]":
    """Which of these instances the node says it has."""
    from staticwado_daemon.dimse.association.requestor import associated
    from staticwado_daemon.dimse.contexts import STUDY_ROOT_FIND, messages
    from staticwado_daemon.dimse.pulling.inventory import of_series

    series = dict.fromkeys((each.identity.study, each.identity.series) for each in chosen)
    with associated(local, peer, messages([STUDY_ROOT_FIND])) as association:
        return frozenset(item.identity for each in series for item in of_series(association, peer, *each))


def _send(storage: "Storage", local: "Local", chosen: "Sequence[Chosen]", outcome: "Outcome") -> None:
    from staticwado_daemon.cli.node import sending_directory
    from staticwado_daemon.cli.watching import bar
    from staticwado_daemon.dimse.sending.delivery import Delivery
    from staticwado_daemon.dimse.sending.renditions import Renditions
    from staticwado_daemon.units import size

    directory = sending_directory(storage.root, storage.state_dir)
    renditions = Renditions(storage.root, directory, storage.minimum_free_bytes)
    delivery = Delivery(local, outcome.peer, renditions)
    with bar(len(chosen)) as show, closing(delivery.send(chosen)) as results:
        for sent in results:
            outcome.add(sent)
            show(advance=1, description=size(outcome.length))


@contextmanager
def _audited(root: Path, meant: "Iterable[Target]", outcome: "Outcome") -> Iterator[None]:
    """Log what left, also when it is interrupted; where the log can't be written, say so."""
    from staticwado_daemon.archive import audit

    try:
        yield
    finally:
        counts = {"instances": len(outcome.good), "failed": len(outcome.failed), "bytes": outcome.length}
        try:
            audit.append(root, audit.Entry("send", [*map(str, meant)], counts, reason=f"to {outcome.peer}"))
        except OSError as error:
            warn(f"this isn't in the audit log {root / audit.PATH}: {error.strerror}")


@dataclass(slots=True)
class Outcome:
    """What became of everything that was to be sent.

    Attributes:
        peer: to whom.
        sent: what was tried.
        present: how many the peer had already.
        length: of what the peer has stored, in bytes.
    """

    peer: "Peer"
    sent: "list[Sent]" = field(default_factory=list)
    present: int = 0
    length: int = 0

    def add(self, sent: "Sent") -> None:
        """One was tried."""
        self.sent.append(sent)
        self.length += 0 if sent.is_failed else sent.length

    def without(self, chosen: "Sequence[Chosen]", present: "frozenset[object]") -> "list[Chosen]":
        """What isn't there yet; the rest is counted."""
        left = [each for each in chosen if each.identity not in present]
        self.present = len(chosen) - len(left)
        return left

    @property
    def good(self) -> "list[Sent]":
        """What the peer has stored."""
        return [each for each in self.sent if not each.is_failed]

    @property
    def failed(self) -> "list[Sent]":
        """What it hasn't."""
        return [each for each in self.sent if each.is_failed]

    def tell(self, *, as_json: bool) -> int:
        """Print it all, and return the exit code."""
        from staticwado_daemon.cli.outcomes import print_object

        failed = self.failed
        if as_json:
            print_object(_to_json(self))
        else:
            for each in failed[:_SHOWN]:
                click.echo(f"{click.style(f'{each.chosen.identity.instance}:', fg='red')} {each.reason}", err=True)
            if len(failed) > _SHOWN:
                click.echo(f"… and {len(failed) - _SHOWN:,} more: --json names them all", err=True)
            click.echo(self._summary())
        if not failed:
            return 0
        return _PARTLY if self.good or self.present else _FAILED

    def _summary(self) -> str:
        from staticwado_daemon.cli.outcomes import counted
        from staticwado_daemon.units import size

        warned = sum(each.is_warning for each in self.good)
        converted = sum(each.transfer_syntax != each.chosen.transfer_syntax for each in self.good)
        words = [f"{self.peer}: {counted(len(self.good), 'instance')} stored, {size(self.length)}"]
        if converted:
            words.append(f"{converted:,} of them uncompressed for it")
        if warned:
            words.append(f"{warned:,} with a warning")
        if self.present:
            words.append(f"{self.present:,} more {'was' if self.present == 1 else 'were'} there already")
        if self.failed:
            words.append(click.style(f"{len(self.failed):,} failed", fg="red"))
        return ", ".join(words)


def _to_json(outcome: Outcome) -> str:
    import json

    listed = [
        {
            "studyInstanceUID": each.chosen.identity.study,
            "seriesInstanceUID": each.chosen.identity.series,
            "sopInstanceUID": each.chosen.identity.instance,
            "transferSyntaxUID": each.transfer_syntax or None,
            "bytes": each.length,
            "status": each.status,
            "stored": not each.is_failed,
            "problem": each.reason or None,
        }
        for each in outcome.sent
    ]
    counts = {"stored": len(outcome.good), "present": outcome.present, "failed": len(outcome.failed)}
    return json.dumps({"to": outcome.peer.title, **counts, "instances": listed})
