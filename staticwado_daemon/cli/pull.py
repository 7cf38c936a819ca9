"""`staticwado pull`: from another node what we lack."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.asking import local_of, network_options, peer_of, quieten
from staticwado_daemon.cli.find import chosen_keys, query_options
from staticwado_daemon.cli.options import INTERRUPTED, Common, json_option, shared
from staticwado_daemon.errors import ConfigError, StaticwadoError, Transient

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration
    from staticwado_daemon.dicom.uids import UID
    from staticwado_daemon.dimse.association.requestor import Local
    from staticwado_daemon.dimse.peers import Peer
    from staticwado_daemon.dimse.pulling.lacking import Lack, Way
    from staticwado_daemon.dimse.pulling.pull import Pulled
    from staticwado_daemon.dimse.receiving.service import Receiver

_FAILED, _PARTLY = 1, 3

_EXAMPLES = """\b
Examples:
  staticwado pull PACS --study 1.2.840.99.1
  staticwado pull PACS --patient-id 4711 --dry-run
  staticwado pull PACS --modality CT --study-date today-7-
"""


@click.command(short_help="Fetch from a node what we lack.", epilog=_EXAMPLES)
@click.argument("ae", metavar="AE")
@query_options
@click.option("--get", "way", flag_value="get", help="By C-GET.  [default: where the node offers it]")
@click.option("--move", "way", flag_value="move", help="By C-MOVE to our own node, which must be running.")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched.")
@network_options
@json_option
@shared()
@click.pass_obj
def pull(common: Common, ae: str, *, way: "Way | None", dry_run: bool, tls: bool) -> int:
    """Fetch the studies that another node has and we don't, or not all of.

    AE is the AE title of a node of aeConfig, or TITLE@HOST:PORT. What comes goes into the drop folder, as what is sent
    to us does, and from there into the tree. Repeated, it fetches only the rest; what was deleted or rejected here
    doesn't come back.
    """
    quieten(common)
    keys = chosen_keys("STUDY")
    if not any(keys.values()):
        raise ConfigError("say which studies: --study, --patient-id, --study-date, --modality or another key")
    configuration = common.configuration()
    peer = peer_of(configuration, ae, tls=tls)
    session = Session(configuration, peer, local_of(configuration.scp(), tls=peer.tls))
    session.look(keys, way)
    try:
        if not dry_run:
            session.fetch()
    except KeyboardInterrupt:
        click.echo(f"interrupted after {session.come:,} of {session.lacked:,}; run it again to go on", err=True)
        return INTERRUPTED
    return session.tell(as_json=common.as_json, dry_run=dry_run)


@dataclass(slots=True)
class Session:
    """One pull: what is lacked, and what became of it.

    Attributes:
        configuration: ours.
        peer: from whom.
        local: we.
        way: by which it is fetched.
        found: how many studies the peer has by the keys.
        lacks: what we lack of them.
        unlisted: those of which the peer fails to tell what it has.
        pulled: what became of that.
        come: how many instances have come so far.
    """

    configuration: "Configuration"
    peer: "Peer"
    local: "Local"
    way: "Way | None" = None
    found: int = 0
    lacks: "list[Lack]" = field(default_factory=list)
    unlisted: "list[Lack]" = field(default_factory=list)
    pulled: "list[Pulled]" = field(default_factory=list)
    come: int = 0

    @property
    def lacked(self) -> int:
        """How many instances are to be fetched."""
        return sum(len(each.items) for each in self.lacks)

    def look(self, keys: dict[str, str], way: "Way | None") -> None:
        """Find out what is lacked, and by which way it can be had."""
        from staticwado_daemon.cli.watching import bar
        from staticwado_daemon.dimse.association.requestor import associated
        from staticwado_daemon.dimse.pulling import lacking

        settings = self.configuration.scp()
        with associated(self.local, self.peer, lacking.proposals()) as association:
            ways = lacking.ways(association)
            if not ways or (way and way not in ways):
                wanted = f"C-{way.upper()}" if way else "neither C-GET nor C-MOVE"
                raise StaticwadoError(f"{self.peer} {'does not offer' if way else 'offers'} {wanted}")
            self.way = way or ways[0]
            studies = lacking.studies(association, self.peer, keys, date.today())  # noqa: DTZ011 - a local day
            self.found = len(studies)
            with bar(len(studies), "studies looked at") as show:
                waiting = lacking.waiting(settings.drop_dir)
                for study in studies:
                    here = lacking.held(settings.root, study) | waiting
                    lack = lacking.lack(association, self.peer, study, here)
                    self.lacks += [lack] if lack.items else []
                    self.unlisted += [lack] if lack.problem else []
                    show(advance=1)

    def fetch(self) -> None:
        """Fetch it, study by study."""
        from staticwado_daemon.cli.watching import bar

        if not self.lacks:
            return
        with bar(self.lacked, "fetched") as show:

            def come(count: int) -> None:
                self.come = count
                show(completed=count)

            if self.way == "move":
                self._move(come)
            else:
                self._get(come)

    def _move(self, come: Callable[[int], None]) -> None:
        from staticwado_daemon.dimse.pulling import pull

        self._require_our_node()
        done = 0
        for lack in self.lacks:
            pulled = pull.move(self.local, self.peer, lack, partial(_come, come, done))
            self.pulled.append(pull.arrived(pulled, self._here))
            done += len(lack.items)

    def _get(self, come: Callable[[int], None]) -> None:
        from staticwado_daemon.dimse.pulling import pull
        from staticwado_daemon.dimse.pulling.arrivals import Arrivals

        self._require_user()
        with receiver_of(self.configuration) as receiver:
            for lack in self.lacks:
                arrivals = Arrivals(receiver, lambda: come(self.come + 1))
                self.pulled.append(pull.get(self.local, self.peer, lack, arrivals))

    def _here(self, study: "UID") -> "frozenset[UID]":
        """What of a study is in the tree or on its way; looked at in this order, nothing is missed on its way."""
        from staticwado_daemon.dimse.pulling import lacking

        settings = self.configuration.scp()
        waiting = lacking.waiting(settings.drop_dir)
        return waiting | lacking.held(settings.root, study)

    def _require_user(self) -> None:
        """Make sure that the daemon may read and remove what comes."""
        import pwd

        from staticwado_daemon.cli.node import make_tree

        make_tree(self.configuration)
        owner = self.configuration.scp().root.stat().st_uid
        if owner != os.geteuid():
            name = next((each.pw_name for each in pwd.getpwall() if each.pw_uid == owner), str(owner))
            raise StaticwadoError(f"what comes must belong to the tree's user: run this as {name}")

    def _require_our_node(self) -> None:
        """Make sure that somebody is there to receive what C-MOVE sends to us."""
        from staticwado_daemon.dimse.peers import Peer
        from staticwado_daemon.dimse.verification.echo import echo

        settings = self.configuration.scp()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - the other way round
        own = Peer(settings.ae_title, host, settings.port, settings.tls is not None)
        try:
            echo(local_of(settings, tls=own.tls), own)
        except Transient as error:
            raise StaticwadoError(f"C-MOVE sends to our own node: start `staticwado scp` first ({error})") from error
        except StaticwadoError:
            return  # it is there, if not for us

    def tell(self, *, as_json: bool, dry_run: bool) -> int:
        """Print it all, and return the exit code."""
        from staticwado_daemon.cli.outcomes import counted, print_object

        fetched = sum(each.fetched for each in self.pulled)
        if as_json:
            print_object(_to_json(self, dry_run=dry_run))
        else:
            for line in _lines(self, dry_run=dry_run):
                click.echo(line)
            if not dry_run and fetched:
                self._tell_where()
            if not self.lacks and not self.unlisted:
                rest = ", nothing of which is to be fetched" if self.found else ""
                click.echo(f"{self.peer}: {counted(self.found, 'study')} found{rest}")
        if not self.unlisted and not any(each.problem for each in self.pulled):
            return 0
        return _PARTLY if fetched or (dry_run and self.lacks) else _FAILED

    def _tell_where(self) -> None:
        from staticwado_daemon.operate.health import look
        from staticwado_daemon.pipeline.report import REPORT

        settings = self.configuration.scp()
        if look(settings.state_dir / REPORT, settings.root).status == "down":
            click.echo(f"no daemon is running: what came waits in {settings.drop_dir} for `staticwado run`", err=True)


def _come(come: Callable[[int], None], before: int, count: int) -> None:
    come(before + count)


@contextmanager
def receiver_of(configuration: "Configuration") -> "Iterator[Receiver]":
    """What takes objects, by the same rules as our node."""
    from staticwado_daemon.cli.node import receiver
    from staticwado_daemon.dimse.node.observed import Observed

    settings = configuration.scp()
    with receiver(configuration, Observed(settings.ae_title, settings.host, tls=False)) as taking:
        yield taking


def _lines(session: Session, *, dry_run: bool) -> Iterator[str]:
    from staticwado_daemon.cli.outcomes import counted

    for lack in session.lacks if dry_run else ():
        yield f"{lack.study}: {len(lack.items):,} of {counted(lack.total, 'instance')} to be fetched"
    for each in session.pulled:
        line = f"{each.lack.study}: {each.fetched:,} of {counted(len(each.lack.items), 'instance')} fetched"
        yield f"{line}; {click.style(each.problem, fg='red')}" if each.problem else line
    for lack in session.unlisted:
        yield f"{lack.study}: {click.style(lack.problem, fg='red')}"


def _to_json(session: Session, *, dry_run: bool) -> str:
    import json

    outcomes = {each.lack.study: each for each in session.pulled}
    studies = [
        {
            "studyInstanceUID": lack.study,
            "instances": lack.total,
            "lacked": len(lack.items),
            "fetched": outcomes[lack.study].fetched if lack.study in outcomes else 0,
            "problem": outcomes[lack.study].problem if lack.study in outcomes else lack.problem,
        }
        for lack in (*session.lacks, *session.unlisted)
    ]
    told = {"from": session.peer.title, "by": session.way, "dryRun": dry_run, "found": session.found}
    counts = {"lacked": session.lacked, "fetched": sum(each.fetched for each in session.pulled)}
    return json.dumps({**told, **counts, "studies": studies})
