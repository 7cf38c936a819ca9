"""Rules by which a node keeps itself supplied: what another one has by some keys is fetched, again and again."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import structlog

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import Patience, pause_seconds
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling import lacking, pull
from staticwado_daemon.dimse.pulling.arrivals import Arrivals, Expected
from staticwado_daemon.errors import StaticwadoError

_LONGEST_PAUSE: Final = 3600.0
_STUDIES_AT_ONCE: Final = 100
"""So many are looked at before what is lacked of them is fetched: the first isn't to wait for all of an archive."""
_ONCE: Final = Patience(tries=2)
"""Of one round: the next one comes anyway."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is fetched from whom.

    Attributes:
        peer: the other node.
        every: seconds from one round to the next.
        keys: values by keyword, as `question.identifier` takes them.
    """

    peer: Peer
    every: float
    keys: Mapping[str, str]


@dataclass(slots=True)
class _Round:
    """What one round has brought."""

    studies: int = 0
    lacked: int = 0
    fetched: int = 0
    problem: str | None = None
    is_general: bool = False


class Rules:
    """All rules of a node, each peer's one after the other.

    Args:
        rules: what is wanted.
        local: we.
        storage: where objects go, also those that a peer sends to our node.
        held: which instances of a study are known here.
    """

    def __init__(
        self, rules: Iterable[Rule], local: Local, storage: Expected, held: Callable[[UID], frozenset[UID]]
    ) -> None:
        self._local = local
        self._storage = storage
        self._held = held
        self._by_peer: dict[str, list[Rule]] = {}
        for rule in rules:
            self._by_peer.setdefault(str(rule.peer), []).append(rule)
        self._fetched: dict[UID, set[str]] = {}
        self._lock = threading.Lock()

    def run(self, stopped: threading.Event) -> None:
        """Fetch until `stopped`; returns when what is under way has ended."""
        threads = [
            threading.Thread(target=self._attend, args=(rules, stopped), name="pull", daemon=True)
            for rules in self._by_peer.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _attend(self, rules: Sequence[Rule], stopped: threading.Event) -> None:
        """Keep one peer's rules, each at its time."""
        due = [(time.monotonic(), 0, rule) for rule in rules]
        while not stopped.is_set():
            at, failures, rule = min(due, key=lambda each: each[0])
            due.remove((at, failures, rule))
            if stopped.wait(max(0.0, at - time.monotonic())):
                return
            failures = 0 if self.keep(rule, stopped) else failures + 1
            pause = pause_seconds(failures + 1, rule.every, max(rule.every, _LONGEST_PAUSE))
            due.append((time.monotonic() + pause, failures, rule))

    def keep(self, rule: Rule, stopped: threading.Event) -> bool:
        """Do one round, with a line in the log; False if the peer or the way to it failed, and nothing came."""
        began, found = time.monotonic(), _Round()
        try:
            self._round(rule, found, stopped)
        except StaticwadoError as error:
            found.problem, found.is_general = str(error), True
        except Exception:  # noqa: BLE001 - one round's trouble must not end all that follow
            _log.exception("pull_broken", peer=str(rule.peer))
            return False
        counts = {"studies": found.studies, "lacked": found.lacked, "fetched": found.fetched}
        seconds = round(time.monotonic() - began, 2)
        if found.problem:
            _log.warning("pull_incomplete", peer=str(rule.peer), **counts, reason=found.problem, seconds=seconds)
        else:
            _log.info("pulled", peer=str(rule.peer), **counts, seconds=seconds)
        # One object that can't be had is to delay no others: all is looked at again at the usual time.
        return not found.is_general or found.fetched > 0

    def _round(self, rule: Rule, found: _Round, stopped: threading.Event) -> None:
        with associated(self._local, rule.peer, lacking.proposals()) as association:
            ways = lacking.ways(association)
            if not ways:
                raise StaticwadoError(f"{rule.peer} offers neither C-GET nor C-MOVE")
            studies = lacking.studies(association, rule.peer, rule.keys, date.today())  # noqa: DTZ011 - a local day
        found.studies = len(studies)
        for start in range(0, len(studies), _STUDIES_AT_ONCE):
            for lack in self._lacks(rule.peer, studies[start : start + _STUDIES_AT_ONCE]):
                if stopped.is_set():
                    return
                found.lacked += len(lack.items)
                pulled = self._fetch(rule.peer, lack, ways[0], stopped)
                found.fetched += pulled.fetched
                found.problem = found.problem or pulled.problem
                found.is_general |= pulled.is_general

    def _lacks(self, peer: Peer, studies: Sequence[UID]) -> list[lacking.Lack]:
        with associated(self._local, peer, lacking.proposals()) as association:
            return [lacking.lack(association, peer, study, self._known(study)) for study in studies]

    def _fetch(self, peer: Peer, lack: lacking.Lack, way: lacking.Way, stopped: threading.Event) -> pull.Pulled:
        if not lack.items:
            return pull.Pulled(lack, 0, lack.problem)
        patience = replace(_ONCE, wait=stopped.wait)
        if way == "move":
            with self._storage.expecting(each.identity.instance for each in lack.items) as arrivals:
                pulled = pull.move(self._local, peer, lack, patience=patience)
                pulled = pull.arrived(pulled, lambda _study: arrivals.stored)
        else:
            arrivals = Arrivals(self._storage, is_given_up=stopped.is_set)
            pulled = pull.get(self._local, peer, lack, arrivals, patience)
        # What came but isn't known yet waits for the daemon, or was rejected by it or before: it isn't to come again.
        with self._lock:
            self._fetched.setdefault(lack.study, set()).update(arrivals.settled)
        return pulled

    def _known(self, study: UID) -> frozenset[str]:
        held = self._held(study)
        with self._lock:
            if waiting := self._fetched.pop(study, set()) - held:
                self._fetched[study] = waiting
            return held | waiting
