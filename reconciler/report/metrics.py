"""What a pass found, as Prometheus reads it from a file (node_exporter's textfile collector).

https://prometheus.io/docs/instrumenting/exposition_formats/
No time of the last pass stands in it: the file's own time of change is that (node_textfile_mtime_seconds).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reconciler.core.observed import Word
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.report.data import is_healthy, running_version, verdict


class _Metric(NamedTuple):
    name: str
    help: str
    samples: tuple[tuple[Mapping[str, str], int], ...]


def metrics_text(report: PassReport) -> str:
    """All gauges, in a fixed order: the same state gives the same text."""
    return "".join(line + "\n" for metric in _metrics(report) for line in _lines(metric))


def _metrics(report: PassReport) -> Iterator[_Metric]:
    site = {"site": report.site}
    yield _Metric("reconcile_exit_code", "Exit status of the last pass: 0 is well.", ((site, report.exit_code),))
    commit = {**site, "commit": report.commit}
    yield _Metric("reconcile_commit_info", "The commit that the site is held to.", ((commit, 1),))
    deployments = sorted(report.deployments, key=lambda one: one.plan.environment)
    yield _Metric(
        "reconcile_converged",
        "1 where desired and observed agree.",
        tuple((_labels(site, one), int(one.converged)) for one in deployments),
    )
    yield from _services(site, deployments)


def _services(site: Mapping[str, str], deployments: Iterable[DeploymentReport]) -> Iterator[_Metric]:
    healthy, severity, versions = [], [], []
    for one in deployments:
        for change in one.plan.diff.changes:
            if not change.wanted:
                continue
            labels = {**_labels(site, one), "service": change.service}
            healthy.append((labels, int(is_healthy(change, one.health))))
            word = verdict(change, one).word
            severity.append(({**labels, "health": word.value}, word.severity))
            running = running_version(change) or ""
            versions.append(({**labels, "version": running, "wanted": change.wanted}, 1))
    yield _Metric("reconcile_service_healthy", "1 where the service is up and does its work.", tuple(healthy))
    words = ", ".join(f"{word.severity} {word.value}" for word in Word)
    yield _Metric("reconcile_service_health", f"How the service is: {words}.", tuple(severity))
    yield _Metric("reconcile_service_info", "The version that runs, and the one that git wants.", tuple(versions))


def _labels(site: Mapping[str, str], report: DeploymentReport) -> dict[str, str]:
    return {**site, "environment": report.plan.environment}


def _lines(metric: _Metric) -> Iterator[str]:
    if metric.samples:
        yield f"# HELP {metric.name} {metric.help}"
        yield f"# TYPE {metric.name} gauge"
    for labels, value in metric.samples:
        told = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels.items())
        yield f"{metric.name}{{{told}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
