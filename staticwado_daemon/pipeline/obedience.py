"""What the publisher does, because it is asked to, to what is in the tree already.

`pipeline.orders` is the side that asks. What is computed from what was done is written as that of new instances is.
"""

from collections.abc import Iterable

from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline import publish, removal, tidy
from staticwado_daemon.pipeline.messages import Obeyed, Remove, Tidy
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.purge import purge_due
from staticwado_daemon.pipeline.recover import recover
from staticwado_daemon.pipeline.studies import Studies
from staticwado_daemon.pipeline.work import Agenda


class Obedience:
    """Carries out orders, study by study: one that is refused costs no other.

    Args:
        store: the tree.
        studies: what is known.
        notes: of what is stored but not shown.
        agenda: takes what is to be written afterwards, and what the disk refused.
    """

    def __init__(self, store: Store, studies: Studies, notes: Notes, agenda: Agenda) -> None:
        self._store = store
        self._studies = studies
        self._notes = notes
        self._agenda = agenda

    def remove(self, order: Remove) -> Obeyed:
        """Delete, reject or bring back."""
        done: list[Target] = []
        failure = None
        for uid in dict.fromkeys(each.study for each in order.targets):
            try:
                if self._agenda.is_doubtful(uid):
                    # An interrupted attempt may have left versions in each other's place.
                    recover(self._store, self._studies, uid)
                found = removal.remove(self._store, self._studies, uid, order)
            except OSError as error:
                failure = self._agenda.refused("remove", error)
                self._agenda.note(uid, None)
                continue
            self._agenda.note(uid, {each.series for each in found if each.series})
            done.extend(found)
        if failure is None:
            self._agenda.succeeded("remove")
        return Obeyed(order.number, tuple(map(str, done)), failure)

    def tidy(self, order: Tidy) -> Obeyed:
        """Set aside and merge files."""
        done, failures = tidy.obey(self._store, self._studies, order)
        failure = None
        for each in failures:
            failure = self._agenda.refused("tidy", each)
        if failure is None:
            self._agenda.succeeded("tidy")
        return Obeyed(order.number, tuple(done), failure)

    def purge(self, before: str) -> None:
        """Have gone for good what was deleted long ago."""
        try:
            purge_due(self._store, self._studies, self._notes, before)
            self._agenda.succeeded("purge")
        except OSError as error:
            self._agenda.refused("purge", error)

    def renew(self, studies: Iterable[UID]) -> None:
        """Have studies written anew, from what their records say now."""
        for study in studies:
            try:
                publish.mark(self._store, study)
            except OSError as error:
                # Without its mark the study is written by this process or not at all.
                self._agenda.refused(study, error)
            self._agenda.note(study, None)
