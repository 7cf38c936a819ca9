"""Deleting, rejecting, bringing back and purging: what is served, what is kept, what is refused."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from staticwado_daemon.archive import audit, hidden, holdings, layout, record, tombstone
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.store import TREE_FORMAT, Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action, Tombstone
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import ConfigError, Corrupt, Rejected, StaticwadoError
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.operate import removal as wanted
from staticwado_daemon.operate.explain.instances import Instance
from staticwado_daemon.operate.explain.places import SearchPlaces
from staticwado_daemon.operate.explain.studies import Series, Study
from staticwado_daemon.operate.explain.uids import explain_uid
from staticwado_daemon.operate.study_records import StudyRecords
from staticwado_daemon.pipeline import publish, removal
from staticwado_daemon.pipeline.commit import commit, sweep
from staticwado_daemon.pipeline.listing import Listing
from staticwado_daemon.pipeline.messages import Remove
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.purge import purge_due
from staticwado_daemon.pipeline.recover import recover
from staticwado_daemon.pipeline.studies import Studies
from tests.staging import snapshot, stage

STUDY = UID("1.2")
ONE = Identity(STUDY, UID("1.2.3"), UID("1.2.3.4"))
OTHER = Identity(STUDY, UID("1.2.5"), UID("1.2.5.6"))
THEN, LATER = "2026-03-01T10:15:00Z", "2026-04-01T10:15:00Z"


class Site:
    """A tree whose publisher is the test."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.studies = Studies(store.root, 1 << 20)
        self.notes = Notes(store)

    def take(self, content: str, identity: Identity = ONE, *, force: str = "", bulk: tuple[str, ...] = ()) -> str:
        """What becomes of an instance with this content, which somebody may insist on."""
        source = Source(Path("/in") / content, Stamp(1, 2, 3, 4), force=bool(force), by=force)
        batch = [
            stage(
                self.store.root,
                content=content,
                study=identity.study,
                series=identity.series,
                instance=identity.instance,
                bulk=bulk,
                source=source,
            )
        ]
        (receipt,) = commit(self.store, self.studies, batch).receipts
        sweep(self.store, batch)
        self.write()
        return f"{receipt.outcome}: {receipt.reason}" if receipt.reason else receipt.outcome

    def do(self, action: Action, *targets: str, at: str = THEN) -> list[str]:
        """To which instances something was done."""
        order = Remove(1, action, tuple(map(Target.parse, targets)), at, "anna", "why")
        done = removal.remove(self.store, self.studies, STUDY, order)
        self.write()
        return [str(each.instance) for each in done]

    def write(self) -> None:
        study = self.studies.get(STUDY)
        if study.series_uids():
            publish.publish_hot(self.store, study, study.series_uids(), Listing(self.store).index)
            publish.publish_cold(self.store, study)
        removal.clear(self.store, study)
        self.notes.note(study)

    def served(self) -> dict[str, bytes]:
        return snapshot(self.store.root / "studies")

    def kept(self) -> set[str]:
        return set(snapshot(self.store.root / layout.KEPT))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Store(tmp_path / "root") as store:
        yield Site(store)


def test_what_is_deleted_leaves_and_comes_back_as_it_was(site: Site) -> None:
    site.take("a", bulk=("bulkdata/own", "bulkdata/shared"))
    site.take("b", OTHER, bulk=("bulkdata/shared",))
    before = site.served()
    assert site.do("delete", "studies/1.2/series/1.2.3") == ["1.2.3.4"]
    left = site.served()
    assert not [path for path in left if "1.2.3.4" in path or "series/1.2.3/" in path or "bulkdata/own" in path]
    assert "1.2/bulkdata/shared" in left
    assert "1.2/bulkdata/own" in site.kept()
    assert hidden.read(site.store.root)[STUDY].deleted == 1
    assert site.do("undo", "studies/1.2") == ["1.2.3.4"]
    assert site.served() == before
    assert site.kept() == set()
    assert hidden.read(site.store.root) == {}


def test_a_study_without_anything_to_show_goes_as_a_whole(site: Site) -> None:
    site.take("a", bulk=("bulkdata/own",))
    site.do("reject", "studies/1.2")
    assert not (site.store.root / "studies/1.2").exists()


def test_what_no_record_speaks_of_is_not_thrown_away(site: Site) -> None:
    site.take("a")
    stray = "studies/1.2/series/1.2.3/instances/9.9/frames/1.mht"
    site.store.put(stray, b"whose?")
    site.do("delete", "studies/1.2")
    assert [path for path, _ in sorted(site.served().items())] == [stray.removeprefix("studies/")]


def test_all_known_contents_are_covered_and_new_ones_are_new(site: Site) -> None:
    site.take("a")
    site.take("b")
    site.do("reject", "studies/1.2/series/1.2.3/instances/1.2.3.4")
    assert site.take("a") == site.take("b") == "ignored: rejected on 2026-03-01 by anna: why"
    assert site.take("c") == "published"
    assert site.take("a").startswith("ignored")
    versions = merge(holdings.held(site.store.root, STUDY))[ONE]
    assert [each.content for each in versions.visible] == ["c"]
    assert versions.visible[0].revision == 3
    site.do("undo", "studies/1.2")
    assert (site.take("a"), site.take("c")) == ("duplicate", "duplicate")


def test_where_the_winner_alone_is_covered_the_next_one_is_shown(site: Site) -> None:
    """As another node may have it, which never knew of the older content."""
    site.take("a")
    site.take("b")
    site.studies.forget(STUDY)
    name, data = record.to_file([Tombstone(ONE, "b", "delete", 1, THEN, "anna", "")])
    site.store.put(f"{layout.records_dir(STUDY)}/{name}", data)
    recover(site.store, site.studies, STUDY)
    site.write()
    assert site.served()["1.2/series/1.2.3/instances/1.2.3.4/frames/1.mht"] == b"a"
    assert site.take("b").startswith("ignored: deleted on 2026-03-01 by anna")


def test_force_takes_what_was_deleted_and_only_that(site: Site) -> None:
    site.take("a")
    site.take("b")
    site.do("delete", "studies/1.2")
    assert site.take("a", force="berta") == "published"
    assert site.served()["1.2/series/1.2.3/instances/1.2.3.4/frames/1.mht"] == b"a"
    assert site.take("b").startswith("ignored")
    assert site.take("b", force="berta") == "published"
    assert site.take("a", force="berta") == "duplicate"
    assert {path.split("/")[3] for path in site.kept()} == {"a"}
    undone = [each.by for each in audit.read(site.store.root) if each.action == "undo"]
    assert undone == ["berta", "berta"]
    tombstones = [each for each in holdings.held(site.store.root, STUDY) if isinstance(each, Tombstone)]
    assert {each.by for each in tombstones if each.action == "undo"} == {"berta"}


def test_a_damaged_image_is_not_shown_either_once_it_is_deleted(site: Site) -> None:
    site.take("a")
    (site.store.root / layout.instance_dir(ONE) / "frames/1.mht").write_bytes(b"?")
    site.do("delete", "studies/1.2")
    assert site.served() == {}
    site.do("undo", "studies/1.2")
    assert site.served()["1.2/series/1.2.3/instances/1.2.3.4/frames/1.mht"] == b"?"


def _contents(site: Site, *identities: Identity) -> list[str]:
    return [site.studies.get(STUDY).versions(each).records[0].content for each in identities]


def test_deleted_long_ago_is_gone_for_good_and_remembered(site: Site) -> None:
    site.take("a", bulk=("bulkdata/own", "bulkdata/shared"))
    site.take("b", OTHER, bulk=("bulkdata/shared",))
    site.do("delete", "studies/1.2/series/1.2.3")
    site.do("reject", "studies/1.2/series/1.2.5")
    shown, deleted = (site.store.root / layout.original(content, "0" * 64) for content in _contents(site, OTHER, ONE))
    for original in (shown, deleted):
        site.store.put(str(original.relative_to(site.store.root)), b"with another header")
    purge_due(site.store, site.studies, site.notes, THEN)
    assert deleted.exists()
    assert len(holdings.records(site.store.root, STUDY)) == 2, "not yet"
    purge_due(site.store, site.studies, site.notes, LATER)
    assert [each.identity for each in holdings.records(site.store.root, STUDY)] == [OTHER]
    assert len(dict(holdings.remainders(site.store.root, STUDY))) == 1
    assert (shown.exists(), deleted.parent.exists()) == (True, False)
    assert not [path for path in site.kept() if "1.2.3.4" in path or "own" in path]
    assert "1.2/bulkdata/shared" in site.kept()
    assert site.notes.total == hidden.Hidden(rejected=1)
    assert site.take("a") == "ignored: deleted on 2026-03-01 by anna: why"
    assert site.take("a", force="berta") == "published"
    log = [(each.action, each.counts) for each in audit.read(site.store.root)]
    one = {"instances": 1, "contents": 1}
    assert log == [("delete", one), ("reject", one), ("purge", one), ("undo", one)]


def test_what_is_purged_is_on_the_disk_before_its_note_goes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.take("a")
    site.do("delete", "studies/1.2")
    steps: list[str] = []
    monkeypatch.setattr(site.store, "sync", lambda: steps.append("sync"))
    monkeypatch.setattr(site.store, "remove", steps.append)
    monkeypatch.setattr(site.notes, "note", lambda _: steps.append("note"))
    purge_due(site.store, site.studies, site.notes, LATER)
    last = steps.index("note")
    assert steps[last - 2].startswith((layout.records_dir(STUDY), layout.pending_dir(STUDY)))
    assert steps[last - 1] == "sync"


def test_records_merged_while_they_are_read_are_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.take("a")
    site.take("b", OTHER)
    listed = [holdings.record_files(site.store.root, STUDY)]
    publish.group(site.store, STUDY, most=0)
    now = holdings.record_files(site.store.root, STUDY)
    assert not set(now) & set(listed[0])
    monkeypatch.setattr(holdings, "record_files", lambda *_: listed.pop() if listed else now)
    held = StudyRecords(site.store.root, STUDY)
    assert set(held.versions) == {ONE, OTHER}


def test_a_rejected_content_that_is_deleted_is_purged(site: Site) -> None:
    site.take("a")
    site.do("reject", "studies/1.2")
    assert site.do("reject", "studies/1.2") == []
    assert site.do("delete", "studies/1.2") == ["1.2.3.4"]
    assert site.do("delete", "studies/1.2") == []
    purge_due(site.store, site.studies, site.notes, LATER)
    assert holdings.records(site.store.root, STUDY) == []
    assert site.do("undo", "studies/1.2") == []


def test_targets_are_found_and_counted(site: Site) -> None:
    site.take("a")
    site.take("b")
    site.take("c", OTHER)
    root = site.store.root
    (found,) = wanted.find(root, "delete", ["1.2", "/studies/1.2", "dicomweb/studies/1.2"])
    assert (str(found.target), found.series, found.instances, found.contents) == ("studies/1.2", 2, 2, 3)
    (found,) = wanted.find(root, "delete", ["1.2.5.6"])
    assert str(found.target) == "studies/1.2/series/1.2.5/instances/1.2.5.6"
    site.do("delete", "studies/1.2/series/1.2.5")
    assert [str(each.target) for each in wanted.find(root, "undo", ["1.2.5"])] == ["studies/1.2/series/1.2.5"]
    for action, text, complaint in (
        ("delete", "1.2.5", "deleted already"),
        ("reject", "1.2.5", "rejected or deleted already"),
        ("undo", "1.2.3", "nothing of it is deleted"),
        ("delete", "1.7", "no study, series or instance"),
        ("delete", "studies/1.2/series/1.7", "is not in"),
    ):
        with pytest.raises(StaticwadoError, match=complaint):
            wanted.find(root, action, [text])  # type: ignore[arg-type]
    for text in ("1.2.", "studies/1.2/instances/1", "../1.2", "studies/1.2/series/.."):
        with pytest.raises(ConfigError, match="no target"):
            wanted.find(root, "delete", [text])


def test_a_uid_that_several_studies_have_is_ambiguous(site: Site) -> None:
    site.take("a")
    site.take("a", Identity(UID("1.9"), ONE.series, ONE.instance))
    with pytest.raises(StaticwadoError, match=r"several studies.*studies/1\.2/series/1\.2\.3, studies/1\.9"):
        wanted.find(site.store.root, "delete", [ONE.series])


@pytest.mark.parametrize("text", ["studies/1.2", "studies/1.2/series/3", "studies/1.2/series/3/instances/4"])
def test_targets_are_written_as_they_are_read(text: str) -> None:
    assert str(Target.parse(text)) == text


@pytest.mark.parametrize("text", ["", "1.2", "studies/", "studies/..", "studies/1.2/", "studies/1.2\n"])
def test_anything_else_is_no_target(text: str) -> None:
    with pytest.raises(Rejected):
        Target.parse(text)


def test_an_older_program_refuses_tombstones_and_their_tree(site: Site) -> None:
    line = Tombstone(ONE, "a", "delete", 1, THEN, "anna", "").to_line()
    with pytest.raises(Corrupt, match="format 2, this program reads 1"):
        record.parse(line)
    assert orjson.loads(site.store.read(layout.FORMAT) or b"")["format"] == TREE_FORMAT == 2


def test_a_tree_of_an_older_format_is_taken_on(tmp_path: Path) -> None:
    (tmp_path / layout.PRIVATE).mkdir()
    (tmp_path / layout.FORMAT).write_bytes(b'{"format":1}')
    with Store(tmp_path) as store:
        assert orjson.loads(store.read(layout.FORMAT) or b"")["format"] == TREE_FORMAT


@pytest.mark.parametrize(
    "change",
    [{"tombstone": "burn"}, {"number": "1"}, {"by": None}, {"study": "../x"}, {"content": 5}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_tombstone_is_corrupt(change: dict[str, object]) -> None:
    body = orjson.loads(Tombstone(ONE, "a", "delete", 1, THEN, "anna", "").to_line())
    with pytest.raises(Corrupt, match="not a tombstone"):
        tombstone.parse(orjson.dumps(body | change))


def test_explain_says_what_was_removed_and_where_it_is_kept(site: Site) -> None:
    site.take("a", bulk=("bulkdata/own",))
    site.take("b")
    site.do("reject", "studies/1.2")
    root = site.store.root
    places = SearchPlaces(root, root / layout.PRIVATE, root / "journal.sqlite")
    for uid in ("1.2", "1.2.3"):
        (told,) = explain_uid(places, uid)
        assert isinstance(told, Study | Series)
        assert (told.instances, told.conflicts if isinstance(told, Series) else ()) == (0, ())
        assert [(each.what, each.instances) for each in told.removed] == [("rejected on 2026-03-01 by anna: why", 1)]
    (instance,) = explain_uid(places, "1.2.3.4")
    assert isinstance(instance, Instance)
    assert [(each.content, each.published, each.removed) for each in instance.versions] == [
        ("b", False, "rejected on 2026-03-01 by anna: why"),
        ("a", False, "rejected on 2026-03-01 by anna: why"),
    ]
    assert all(file.there for each in instance.versions for file in each.files)
    assert all(each.files[0].path == f"{each.directory}/{layout.METADATA}" for each in instance.versions)
    assert all(each.files[0].bytes > 0 for each in instance.versions)
