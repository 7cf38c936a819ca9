"""Rules by which a node keeps itself supplied: what another one has by some keys is fetched, again and again."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import structlog

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse.association.messages import Storage
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import Patience, pause_seconds
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling import pull
from staticwado_daemon.dimse.pulling.retrieval import Arrivals
from staticwado_daemon.errors import StaticwadoError

_LONGEST_PAUSE: Final = 3600.0
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


class Rules:
    """All rules of a node, each peer's one after the other.

    Args:
        rules: what is wanted.
        local: we.
        storage: where objects go.
        held: which instances of a study are known here.
    """

    def __init__(
        self, rules: Iterable[Rule], local: Local, storage: Storage, held: Callable[[UID], frozenset[UID]]
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
        """Do one round, with a line in the log; False if it brought nothing and has to be done again."""
        began, found = time.monotonic(), _Round()
        try:
            self._round(rule, found, stopped)
        except StaticwadoError as error:
            found.problem = str(error)
        except Exception:  # noqa: BLE001 - one round's trouble must not end all that follow
            _log.exception("pull_broken", peer=str(rule.peer))
            return False
        counts = {"studies": found.studies, "lacked": found.lacked, "fetched": found.fetched}
        seconds = round(time.monotonic() - began, 2)
        if found.problem:
            _log.warning("pull_incomplete", peer=str(rule.peer), **counts, reason=found.problem, seconds=seconds)
        else:
            _log.info("pulled", peer=str(rule.peer), **counts, seconds=seconds)
        return found.problem is None or found.fetched > 0

    def _round(self, rule: Rule, found: _Round, stopped: threading.Event) -> None:
        lacks = []
        with associated(self._local, rule.peer, pull.proposals()) as association:
            ways = pull.ways(association)
            if not ways:
                raise StaticwadoError(f"{rule.peer} offers neither C-GET nor C-MOVE")
            for study in pull.studies(association, rule.peer, rule.keys, date.today()):  # noqa: DTZ011 - a local day
                found.studies += 1
                lack = pull.lack(association, rule.peer, study, self._known(study))
                if lack.items:
                    lacks.append(lack)
        for lack in lacks:
            if stopped.is_set():
                return
            found.lacked += len(lack.items)
            pulled = self._fetch(rule.peer, lack, ways[0], stopped)
            found.fetched += pulled.fetched
            found.problem = found.problem or pulled.problem

    def _fetch(self, peer: Peer, lack: pull.Lack, way: pull.Way, stopped: threading.Event) -> pull.Pulled:
        patience = replace(_ONCE, wait=stopped.wait)
        if way == "move":
            return pull.move(self._local, peer, lack, patience=patience)
        arrivals = Arrivals(self._storage, is_given_up=stopped.is_set)
        pulled = pull.get(self._local, peer, lack, arrivals, patience)
        # What came but isn't known yet waits for the daemon, or was rejected by it: neither is to come again.
        with self._lock:
            self._fetched.setdefault(lack.study, set()).update(arrivals.stored)
        return pulled

    def _known(self, study: UID) -> frozenset[str]:
        held = self._held(study)
        with self._lock:
            if waiting := self._fetched.pop(study, set()) - held:
                self._fetched[study] = waiting
            return held | waiting
