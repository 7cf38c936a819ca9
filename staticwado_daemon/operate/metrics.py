"""What Prometheus is told about a tree and its daemon: read when it asks, counts and times only."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from staticwado_daemon import __version__
from staticwado_daemon.inbound.receipt import OUTCOMES
from staticwado_daemon.operate import network
from staticwado_daemon.operate.health import Health, look
from staticwado_daemon.pipeline.report import Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format, which everything that reads metrics understands."""

FOLDER_MODES = ("inotify", "polling", "unavailable", "starting")


@dataclass(frozen=True, slots=True)
class Watched:
    """Where to look.

    Attributes:
        report: the file in which the daemon says how it is.
        root: of the tree; only its lock and the free space of its file system are looked at.
    """

    report: Path
    root: Path


def exposition(watched: Watched) -> bytes:
    """All metrics as they are now, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Collector(watched))
    return generate_latest(registry)


class _Collector(Collector):
    """Of the daemon everything is a gauge: a receipt may change, as when a later file supersedes an earlier one."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        """Look, and yield one family after the other; what isn't known has none."""
        health = look(self._watched.report, self._watched.root)
        yield _labelled("staticwado_build_info", "The version of staticwado.", "version", {__version__: 1})
        yield from _of_health(health)
        if health.report:
            yield from _of_report(health.report)
        yield from _of_network(self._watched.report.parent)
        yield from _of_disk(self._watched.root)


def _of_health(health: Health) -> Iterator[GaugeMetricFamily]:
    yield _gauge("staticwado_up", "Whether the daemon runs and reports.", health.status != "down")
    yield _gauge(
        "staticwado_degraded", "Whether something isn't as it should be; `status` says what.", health.status != "ok"
    )
    if health.age is not None:
        yield _gauge("staticwado_report_age_seconds", "Since the daemon's last report.", health.age)


def _of_report(report: Report) -> Iterator[GaugeMetricFamily]:
    receipts = {str(outcome): report.receipts.get(outcome, 0) for outcome in OUTCOMES}
    yield _labelled("staticwado_receipts", "Input files by what has become of them.", "outcome", receipts)
    yield _gauge("staticwado_backlog", "Input files without a receipt.", report.backlog)
    yield _gauge("staticwado_waiting", "Those of the backlog that wait for their rest.", report.waiting)
    yield _gauge("staticwado_instances", "Instances that can be seen.", report.instances)
    yield _gauge("staticwado_studies", "Studies that can be seen.", report.studies)
    hidden = report.hidden
    yield _gauge("staticwado_conflicts", "Instances with several contents, of which one is shown.", hidden.conflicts)
    yield _gauge("staticwado_rejected_instances", "Instances of which something was rejected.", hidden.rejected)
    yield _gauge(
        "staticwado_deleted_instances",
        "Instances of which something was deleted and isn't purged as yet.",
        hidden.deleted,
    )
    if report.published_at is not None:
        yield _gauge(
            "staticwado_last_published_timestamp_seconds",
            "When the latest instance was published, since the daemon's start.",
            report.published_at,
        )
    modes = Counter(report.folders.values())
    yield _labelled(
        "staticwado_folders",
        "Inbound folders by how they are followed.",
        "mode",
        {mode: modes[mode] for mode in FOLDER_MODES},
    )


def _of_network(state_dir: Path) -> Iterator[Metric]:
    """What `staticwado scp` did since its start; while it isn't running, that it isn't."""
    try:
        node = network.read(state_dir)
    except OSError:
        node = None
    yield _gauge("staticwado_dicom_up", "Whether the DICOM node runs and reports.", node is not None)
    if node is None:
        return
    yield _gauge("staticwado_dicom_associations_open", "Associations that are open.", node.open)
    ended = CounterMetricFamily("staticwado_dicom_associations", "Associations by how they ended.", labels=("outcome",))
    for outcome in network.OUTCOMES:
        ended.add_metric((outcome,), node.associations.get(outcome, 0))
    yield ended
    done = CounterMetricFamily(
        "staticwado_dicom_operations", "What was done on associations.", labels=("operation", "status")
    )
    for operation in network.OPERATIONS:
        for status in network.STATUS_CLASSES:
            done.add_metric((operation, status), node.done(operation, status))
    yield done
    yield CounterMetricFamily("staticwado_dicom_received_bytes", "Of data sets, stored or not.", node.received_bytes)
    yield CounterMetricFamily("staticwado_dicom_sent_bytes", "Of data sets.", node.sent_bytes)


def _of_disk(root: Path) -> Iterator[GaugeMetricFamily]:
    try:
        free = os.statvfs(root)
    except OSError:
        return
    yield _gauge("staticwado_disk_free_bytes", "Free on the tree's file system.", free.f_bavail * free.f_frsize)
    if free.f_files:  # some file systems don't count them
        yield _gauge("staticwado_disk_free_inodes", "Free on the tree's file system.", free.f_favail)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value)


def _labelled(name: str, documentation: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family
