"""C-FIND over very many studies: from the request to the last answer, on an association that stands already."""

import random
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRoot

from staticwado_daemon.archive.query_writer import QueryIndexWriter, SeriesRows, StudyRows
from staticwado_daemon.dicom.uids import UID
from tests.bench.bare import without_delay
from tests.bench.studies import query_answer
from tests.bench.table import Row, at_most
from tests.system import nodes

ANSWERED_SECONDS = 0.2
_SEED = 20260104
_TIMES = 5
_ALWAYS = (
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "StudyDate",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)


def measure(count: int, directory: Path) -> Iterator[Row]:
    """Ask for one study among so many, by each of the keys that people have."""
    node = nodes.prepare(directory)
    sought = _write_index(node.state / "query.sqlite", count)
    with nodes.receiving(node), _associated(node.port) as association:
        for what, keys in _questions(sought).items():
            seconds, answers = _ask(association, keys)
            name = f"C-FIND among {count:,} studies by {what}, {answers} answers, s"
            yield at_most(name, seconds, ANSWERED_SECONDS, ".3f")


def _questions(sought: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    family, _, _ = sought["PatientName"].partition("^")
    return {
        "Study Instance UID": {"StudyInstanceUID": sought["StudyInstanceUID"]},
        "Patient ID": {"PatientID": sought["PatientID"]},
        "Accession Number": {"AccessionNumber": sought["AccessionNumber"]},
        "name in another case": {"PatientName": sought["PatientName"].upper()},
        "beginning of a name": {"PatientName": f"{family[:-1]}*"},
        "middle of a name": {"PatientName": f"*{family[1:]}^*"},
        "day and modality": {"StudyDate": sought["StudyDate"], "ModalitiesInStudy": sought["ModalitiesInStudy"]},
    }


def _write_index(path: Path, count: int) -> Mapping[str, str]:
    """Write a query index of so many studies of one instance; the values of the one in their midst."""
    generator = random.Random(_SEED)
    answers = [query_answer(generator, number) for number in range(count)]
    path.parent.mkdir(parents=True)
    with closing(QueryIndexWriter(path)) as writer:
        with writer.transaction():
            writer.begin(count)
            for answer in answers:
                writer.put(_rows(answer))
            writer.finish()
        writer.make_durable()
    sought = orjson.loads(answers[count // 2])
    values = {keyword_for_tag(tag): attribute["Value"][0] for tag, attribute in sought.items()}
    return {**values, "PatientName": values["PatientName"]["Alphabetic"]}


def _rows(answer: bytes) -> StudyRows:
    attributes = orjson.loads(answer)
    study = UID(attributes["0020000D"]["Value"][0])
    series, instance = UID(f"{study}.1"), UID(f"{study}.1.1")
    own = {
        "00080060": {"vr": "CS", "Value": attributes["00080061"]["Value"]},
        "0020000E": {"vr": "UI", "Value": [series]},
        "00201209": {"vr": "IS", "Value": [1]},
    }
    return StudyRows(
        study, answer, [SeriesRows(series, True, lambda: orjson.dumps(own), lambda: {instance: CTImageStorage})]
    )


@contextmanager
def _associated(port: int) -> Iterator[Association]:
    entity = AE("BENCH")
    entity.add_requested_context(StudyRoot)
    association = entity.associate(
        "127.0.0.1", port, ae_title=nodes.TITLE, evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)]
    )
    if not association.is_established:
        raise SystemExit("no association for C-FIND")
    try:
        yield association
    finally:
        association.release()


def _ask(association: Association, keys: Mapping[str, str]) -> tuple[float, int]:
    """The median of a few times, in seconds, and how many answers came."""
    identifier = Dataset()
    for keyword in (*_ALWAYS, *keys):
        setattr(identifier, keyword, keys.get(keyword, ""))
    identifier.QueryRetrieveLevel = "STUDY"
    seconds = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        answers = [answer for status, answer in association.send_c_find(identifier, StudyRoot) if _is_pending(status)]
        seconds.append(time.perf_counter() - started)
        if not answers:
            raise SystemExit(f"nothing was found by {', '.join(keys)}")
    return statistics.median(seconds), len(answers)


def _is_pending(status: Dataset) -> bool:
    """Whether an answer comes with it (PS3.4 C.4.1.1.4); any other but success ends the measurement."""
    if status.Status in {0xFF00, 0xFF01}:
        return True
    if status.Status != 0x0000:
        raise SystemExit(f"C-FIND was answered with {status.Status:04X}")
    return False
