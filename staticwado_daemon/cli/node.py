"""From settings to our DICOM node: the one place where its parts are put together."""

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from staticwado_daemon.errors import ConfigError, StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon import config
    from staticwado_daemon.dimse.association.requestor import Local
    from staticwado_daemon.dimse.commitment.service import Commitment
    from staticwado_daemon.dimse.node.observed import Observed
    from staticwado_daemon.dimse.node.server import Node
    from staticwado_daemon.dimse.peers import Peer
    from staticwado_daemon.dimse.pulling.arrivals import Expected
    from staticwado_daemon.dimse.query.hierarchy import OpenIndex
    from staticwado_daemon.dimse.query.service import Query
    from staticwado_daemon.dimse.receiving.service import Receiver
    from staticwado_daemon.dimse.retrieve.service import Retrieve


_END_SECONDS = 2.0
"""For what is just being fetched; it is fetched again."""
_RENEWAL_SECONDS = 30 * 86400.0
"""So long before our certificate ends somebody is told."""


def make_tree(configuration: "config.Configuration") -> None:
    """Let the tree stand with its rights before anything is put beside it; the daemon may never have run.

    Raises:
        ConfigError: if it can't.
    """
    from staticwado_daemon.archive.store import Store
    from staticwado_daemon.cli.preflight import is_tree

    settings = configuration.scp()
    if not is_tree(settings.root):
        try:
            with Store(settings.root, configuration.storage().group):
                pass
        except StaticwadoError:
            if not is_tree(settings.root):
                raise
    settings.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)


@contextmanager
def receiver(configuration: "config.Configuration", observed: "Observed") -> "Iterator[Receiver]":
    """What takes objects, until the last association has ended."""
    from staticwado_daemon.dimse.receiving.service import Receiver
    from staticwado_daemon.inbound import drop
    from staticwado_daemon.pipeline.space import Space

    settings, storage = configuration.scp(), configuration.storage()
    drop.prepare(settings.drop_dir)
    minimum = (storage.minimum_free_bytes, storage.minimum_free_inodes)
    spaces = [Space(place, *minimum) for place in (settings.drop_dir, settings.root)]
    with closing(Receiver(settings.drop_dir.resolve(), spaces, settings.max_object_bytes, observed)) as taking:
        yield taking


def query(configuration: "config.Configuration", observed: "Observed") -> "Query":
    """What answers queries."""
    from staticwado_daemon.dimse.query.service import Query

    settings = configuration.scp()
    return Query(settings.root, _open_index(settings), settings.ae_title, observed)


def retrieval(configuration: "config.Configuration", observed: "Observed") -> "Retrieve":
    """What gives objects back."""
    from staticwado_daemon.dimse.retrieve.service import Archive, Retrieve

    settings, storage = configuration.scp(), configuration.storage()
    directory = sending_directory(settings.root, settings.state_dir)
    archive = Archive(settings.root, _open_index(settings), directory, storage.minimum_free_bytes)
    local, peers = _we_and_others(configuration)
    return Retrieve(archive, local, peers, observed)


def sending_directory(root: Path, state_dir: Path) -> Path:
    """Where what is too long to be held in memory stands while it is sent; only the tree's owner may look into it.

    Raises:
        OSError: if it can't be made.
    """
    from staticwado_daemon.operate.export.files import make_private
    from staticwado_daemon.operate.private import give

    directory = state_dir / "sending"
    make_private(directory)
    give(directory, root)
    return directory


def commitment(configuration: "config.Configuration", observed: "Observed") -> "Commitment":
    """What commits to keeping objects."""
    from staticwado_daemon.dimse.commitment.service import Commitment
    from staticwado_daemon.dimse.commitment.vouching import Archive
    from staticwado_daemon.pipeline.report import REPORT

    settings = configuration.scp()
    archive = Archive(settings.root, settings.drop_dir, settings.state_dir / REPORT, _open_index(settings))
    local, peers = _we_and_others(configuration)
    return Commitment(settings.state_dir, archive, local, peers, observed)


def _open_index(settings: "config.Scp") -> "OpenIndex":
    from staticwado_daemon.archive import query_tables
    from staticwado_daemon.archive.query_index import QueryIndex

    return functools.partial(QueryIndex, settings.state_dir / query_tables.FILE)


def _we_and_others(configuration: "config.Configuration") -> "tuple[Local, dict[str, Peer]]":
    """We, as nodes of aeConfig are to see us, and these by AE title."""
    from staticwado_daemon.cli.asking import local_of, peers_of

    peers = peers_of(configuration)
    return local_of(configuration.scp(), tls=any(each.tls for each in peers.values())), peers


@contextmanager
def pulling(configuration: "config.Configuration", storage: "Expected") -> Iterator[None]:
    """Fetch what the rules of the settings say, for as long as the block lasts."""
    from staticwado_daemon.cli.asking import local_of
    from staticwado_daemon.cli.pulling import rules_of
    from staticwado_daemon.dimse.pulling import lacking
    from staticwado_daemon.dimse.pulling.rules import Rules

    settings, wanted = configuration.scp(), rules_of(configuration)
    if not wanted:
        yield
        return
    local = local_of(settings, tls=any(each.peer.tls for each in wanted))
    # What came before we ended last may still wait for the daemon.
    waiting = functools.cache(functools.partial(lacking.waiting, settings.drop_dir))
    rules = Rules(wanted, local, storage, lambda study: waiting() | lacking.held(settings.root, study))
    ended = threading.Event()
    thread = threading.Thread(target=rules.run, args=(ended,), name="pulling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_END_SECONDS)


def node_of(settings: "config.Scp") -> "Node":
    """How we listen, in the words of the network.

    Raises:
        ConfigError: if an address isn't one, or TLS isn't possible.
    """
    from staticwado_daemon.dimse.association.limits import Limits
    from staticwado_daemon.dimse.node.acceptance import Rules, networks
    from staticwado_daemon.dimse.node.server import Node
    from staticwado_daemon.dimse.tls import server_context

    tls = settings.tls
    return Node(
        title=settings.ae_title,
        host=settings.host,
        port=settings.port,
        rules=Rules(
            called=frozenset(settings.called_ae_titles),
            calling=frozenset(settings.calling_ae_titles),
            peers=networks(settings.peers),
            maximum=settings.max_associations,
            maximum_of_peer=settings.max_associations_per_peer,
        ),
        limits=Limits(maximum_pdu_length=settings.max_pdu_length, idle_seconds=settings.idle_seconds),
        artim=settings.artim_seconds,
        tls=server_context(
            tls.certificate, tls.key, tls.authorities, require_client_certificate=tls.require_client_certificate
        )
        if tls
        else None,
    )


def concerns(settings: "config.Scp", node: "Node") -> Iterator[str]:
    """Yield a sentence for each thing about the settings that somebody should know, the most urgent one first."""
    if sentence := _aging(settings):
        yield sentence
    if sentence := _exposure(settings, node):
        yield sentence


def _aging(settings: "config.Scp") -> str | None:
    """One sentence if our certificate has expired, will before long, or is none for servers."""
    from staticwado_daemon.cli.words import date_time
    from staticwado_daemon.dimse.tls import expiry

    if settings.tls is None:
        return None
    try:
        end = expiry(settings.tls.certificate, settings.tls.key)
    except ConfigError as error:
        return str(error)
    left = end - time.time()
    if left > _RENEWAL_SECONDS:
        return None
    word = "expires" if left > 0 else "expired"
    return f"{settings.tls.certificate} {word} on {date_time(end)}: renew it, and start `staticwado scp` again"


def _exposure(settings: "config.Scp", node: "Node") -> str | None:
    """One sentence if whoever reaches the node may associate."""
    from staticwado_daemon.dimse.node.acceptance import exposure_warning

    certificates = bool(settings.tls and settings.tls.require_client_certificate)
    return exposure_warning(node.host, node.rules, client_certificates=certificates)
