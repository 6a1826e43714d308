"""Watch what released versions are asked and answer: what moved, and how good the answers probably are.

It reads the log of requests from where it stood, window by window. `monitor.json` holds the windows and the position in
one file that is replaced whole, and a window is made of the log alone: killed at any moment and run again it finds the
same. At most a window of each version, a batch of each open file and the new labels are in memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import UserError
from evergreen.core.files import make_private, read_json, write_json, write_text
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from evergreen.stages.monitor.late_truth import LateLabels
    from evergreen.stages.monitor.reference import Reference
    from evergreen.stages.operation import MonitorConfig

FORMAT = 1
FILE, PAGE = "monitor.json", "report.html"
FIGURES = "figures.json"  # for the endpoint's /metrics
MAX_WINDOWS, MAX_SLICED = 400, 64  # that are kept, and the newest of which the scores of slices are
SAVE_SECONDS = 2.0  # between two writes of the findings
Json = dict[str, Any]


def run(
    config: MonitorConfig,
    paths: Paths,
    *,
    statuses: Mapping[str, float] | None = None,
    progress: Progress = no_progress,
) -> Json:
    """Bring the findings up to date, draw the page; return the findings.

    `statuses` is status → how many requests of this pipeline the endpoint ended so since it began; None while it is
    down.

    Raises:
        BusyError: another process does it.
    """
    folder = make_private(paths.monitor)
    with exclusive_lock(folder / "lock", f"{paths.name} is being monitored"):
        monitor = Monitor(config, paths, read_findings(paths))
        monitor.learn_truth()
        monitor.read_log(progress)
        monitor.count_errors(statuses or {})
        monitor.save()
        draw(paths, monitor.findings)
    return monitor.findings


def read_findings(paths: Paths) -> Json:
    """Return what is known of a pipeline's requests. Raises PipelineError where the file is broken."""
    if (file := paths.monitor / FILE).is_file():
        return read_json(file, "windows", "position", "labels", "versions", known_format=FORMAT)
    labels = {"last": "", "waiting": {}}
    return {"format": FORMAT, "windows": [], "position": {}, "labels": labels, "versions": {}, "latest": None}


def draw(paths: Paths, findings: Json) -> None:
    """Write the page about the findings."""
    from evergreen.pages import monitor_page

    write_text(paths.monitor / PAGE, monitor_page.page(paths.name, findings))


def list_samples(name: str, latest: Json) -> list[tuple[str, dict[str, str], float]]:
    """Return what Prometheus is told of the newest window: name, labels, value."""
    labels = {"pipeline": name, "version": latest["version"]}
    score, estimated = {**labels, "metric": latest["metric"]}, latest["estimated"] or {}
    samples = [
        ("evergreen_drift", labels, latest["drift"]),
        ("evergreen_columns_moved", labels, latest["n_moved"]),
        ("evergreen_score_estimated", score, estimated.get("mean")),
        ("evergreen_estimate_unsure", labels, float(bool(latest["unsure"])) if estimated else None),
        ("evergreen_score_true", score, latest["true"]),
    ]
    return [sample for sample in samples if sample[2] is not None]


class Monitor:
    """Bring the findings of one pipeline up to date."""

    def __init__(self, config: MonitorConfig, paths: Paths, findings: Json) -> None:
        from evergreen.stages.monitor.late_truth import LateLabels

        self.config, self.paths, self.findings = config, paths, findings
        self.labels: LateLabels = LateLabels(paths.requests, findings["labels"])
        self.references: dict[str, Reference | None] = {}
        self._next_save = 0.0

    def reference(self, version: str) -> Reference | None:
        """Return what a version is compared with; None where that is lost, which the findings say."""
        from evergreen.stages.monitor.reference import open_reference

        if version not in self.references:
            try:
                self.references[version] = reference = open_reference(self.paths, version)
                self.findings["versions"][version] = {"metric": reference.metric, "problem": ""}
            except UserError as error:
                self.references[version] = None
                self.findings["versions"][version] = {"metric": "", "problem": str(error)}
        return self.references[version]

    def learn_truth(self) -> None:
        """Add the labels that are new to the windows that were made before."""
        import pyarrow as pa

        from evergreen.stages.monitor.late_truth import Spans
        from evergreen.stages.request_files import read_pieces

        windows = self.findings["windows"]
        if not self.labels.new or not windows:
            return
        spans = Spans(windows)
        for key, first, table in read_pieces(self.paths.requests, {}, ["request_id", "row", "asked", "answered"]):
            for place, rows in spans.split(key, first, table):
                self._add_labels(windows[place], pa.Table.from_batches(rows.to_batches()), new_only=True)

    def read_log(self, progress: Progress) -> None:
        """Add the windows that the log holds more than before."""
        from evergreen.stages.monitor.findings import describe_window
        from evergreen.stages.monitor.request_windows import read_windows

        findings, unfinished = self.findings, dict[str, int]()
        windows = read_windows(self.paths.requests, findings["position"], self.config.window, unfinished)
        for n_windows, window in enumerate(windows, 1):
            reference = self.reference(window.version)
            described = describe_window(window, reference, self.config.matters, self.config.slices)
            self._add_labels(described, window.rows, new_only=False)
            findings["windows"] = [*findings["windows"], described][-MAX_WINDOWS:]
            findings["position"] |= {key: end for key, (_, end) in window.spans.items()}
            progress(stage="monitor", windows=n_windows, until=described["last"])
            if time.monotonic() >= self._next_save:
                self.save()
        findings["unfinished"], findings["window"] = unfinished, self.config.window

    def count_errors(self, statuses: Mapping[str, float]) -> None:
        """Note how the requests since the last look ended; an endpoint that began anew counts from zero."""
        before = self.findings.get("statuses", {}).get("total", {})
        if not statuses or statuses == before:
            return
        began_anew = any(statuses.get(status, 0) < count for status, count in before.items())
        new = {status: count - (0 if began_anew else before.get(status, 0)) for status, count in statuses.items()}
        ends = {"answered": "2", "refused": "4", "failed": "5"}
        newest = {end: int(sum(n for status, n in new.items() if status[0] == first)) for end, first in ends.items()}
        self.findings["statuses"] = {"total": dict(statuses), "newest": newest}

    def save(self) -> None:
        """Write the findings; a position in files that are gone is forgotten."""
        from evergreen.stages.monitor.findings import summarise
        from evergreen.stages.request_files import list_files

        findings = self.findings
        there = {f"{day}/{stem}" for day, stems in list_files(self.paths.requests).items() for stem in stems}
        findings["position"] = {key: rows for key, rows in findings["position"].items() if key in there}
        for window in findings["windows"][:-MAX_SLICED]:
            window["slices"] = {}
        if windows := findings["windows"]:
            findings["latest"] = summarise(windows, findings["versions"][windows[-1]["version"]]["metric"])
        write_json(self.paths.monitor / FILE, findings, sort=False)
        if windows:
            write_json(
                self.paths.monitor / FIGURES, {"samples": list_samples(self.paths.name, findings["latest"])}, sort=False
            )
        self._next_save = time.monotonic() + SAVE_SECONDS

    def _add_labels(self, window: Json, rows: Any, *, new_only: bool) -> None:
        import pyarrow as pa

        from evergreen.data.arrow import combine_chunks
        from evergreen.stages.monitor.findings import add_truth

        taken = self.labels.take(rows, new_only=new_only)
        reference = self.reference(window["version"]) if taken else None
        if taken and reference:
            asked, answered = (
                pa.Table.from_struct_array(combine_chunks(rows[side]).take(pa.array(taken[0])))
                for side in ("asked", "answered")
            )
            add_truth(window, reference, asked, answered, taken[1], self.config.slices)
