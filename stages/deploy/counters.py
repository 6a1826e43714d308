"""Count what a replica answers, and put the figures of all replicas together in Prometheus' text format.

Each replica has series of its own (label `replica`): sum them. A replica writes its figures to a file every few seconds
where there are several, since whoever asks reaches only one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.files import make_private, write_json
from evergreen.stages.request_files import PRODUCTION

if TYPE_CHECKING:
    from evergreen.stages.deploy.endpoint import Endpoint

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
PUBLISH_SECONDS = 2.0
MAX_AGE_SECONDS = 10.0  # of the figures of another replica: an older file is a dead one's
FAMILIES = {  # name → (type, what it says)
    "evergreen_requests_total": ("counter", "Requests that were answered, by status; 499: the client left."),
    "evergreen_rollout_requests_total": ("counter", "Requests to versions beside production, by outcome."),
    "evergreen_rows_total": ("counter", "Rows that were answered."),
    "evergreen_request_seconds": ("histogram", "Seconds from a request's head to the end of its answer."),
    "evergreen_first_piece_seconds": ("histogram", "Seconds from a row's reading to the first piece of its text."),
    "evergreen_batch_rows": ("histogram", "Rows in one pass through the network."),
    "evergreen_queue_rows": ("gauge", "Rows that wait for a batch."),
    "evergreen_body_bytes": ("gauge", "Bytes of bodies and answers under way, in memory and in files."),
    "evergreen_log_rows_total": ("counter", "Rows of the request log, written or dropped."),
    "evergreen_spans_total": ("counter", "Spans of OpenTelemetry, sent to the collector or lost."),
    "evergreen_drift": ("gauge", "Distance of the farthest column in the newest window of requests, 0 to 1."),
    "evergreen_columns_moved": ("gauge", "Columns that moved in the newest window of requests."),
    "evergreen_score_estimated": ("gauge", "Estimated score in the newest window of requests."),
    "evergreen_estimate_unsure": ("gauge", "1 where so many rows are out of the trained range that it is a guess."),
    "evergreen_score_true": ("gauge", "Score in the newest window of requests, by the labels that came."),
}
Sample = tuple[str, dict[str, str], float]  # name, labels, value
Who = tuple[str, str, str]  # pipeline, version, role


class Histogram:
    """Count values by upper bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        """Yield the cumulative counts, their sum and their number."""
        count = 0
        for bound, more in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            count += more
            yield f"{name}_bucket", {**labels, "le": bound}, count
        yield f"{name}_sum", labels, self.total
        yield f"{name}_count", labels, count


class Counters:
    """Count the requests of a replica by pipeline, version, role and status; those for no pipeline count under ""."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[Who, int]] = Counter()
        self.seconds: dict[Who, Histogram] = {}

    def count(self, who: Who, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests[who, status] += 1
        histogram = self.seconds.get(who)
        if histogram is None:
            histogram = self.seconds[who] = Histogram(SECONDS)
        histogram.observe(seconds)


def read_samples(endpoint: Endpoint) -> Iterator[Sample]:
    """Yield the figures of this replica."""
    counters = endpoint.counters
    for (who, status), count in counters.requests.items():
        yield "evergreen_requests_total", {**_labels(*who), "status": str(status)}, count
    for who, histogram in counters.seconds.items():
        yield from histogram.samples("evergreen_request_seconds", _labels(*who))
    for name, rollout in endpoint.rollouts.items():
        for (version, role, outcome), count in rollout.outcomes.items():
            yield "evergreen_rollout_requests_total", {**_labels(name, version, role), "outcome": outcome}, count
    for name, served in endpoint.served.items():
        labels = _labels(name, served.version)
        yield "evergreen_rows_total", labels, served.batch_rows.total
        yield from served.batch_rows.samples("evergreen_batch_rows", labels)
        if served.first_piece.total:
            yield from served.first_piece.samples("evergreen_first_piece_seconds", labels)
        yield "evergreen_queue_rows", labels, served.answer.waiting_rows
    for place, reader in (("memory", endpoint.bodies), ("file", endpoint.spools)):
        yield "evergreen_body_bytes", {"place": place}, reader.held_bytes
    if endpoint.log:
        yield "evergreen_log_rows_total", {"outcome": "written"}, endpoint.log.written_rows
        yield "evergreen_log_rows_total", {"outcome": "dropped"}, endpoint.log.dropped_rows
    if endpoint.spans:
        yield "evergreen_spans_total", {"outcome": "sent"}, endpoint.spans.n_sent
        yield "evergreen_spans_total", {"outcome": "lost"}, endpoint.spans.n_lost


def _labels(pipeline: str, version: str, role: str = PRODUCTION) -> dict[str, str]:
    return {"pipeline": pipeline, "version": version, "role": role} if pipeline else {"pipeline": ""}


def publish(endpoint: Endpoint, home: Path) -> None:
    """Write the figures of this replica for those that other replicas answer."""
    path = make_private(home / "figures") / f"{endpoint.replica}.json"
    write_json(path, {"samples": list(read_samples(endpoint))}, sort=False)


async def keep_published(endpoint: Endpoint, home: Path) -> None:
    """Publish every few seconds."""
    while True:
        with contextlib.suppress(OSError):  # a full disk
            await asyncio.get_running_loop().run_in_executor(endpoint.loading, publish, endpoint, home)
        await asyncio.sleep(PUBLISH_SECONDS)


def render(endpoint: Endpoint) -> str:
    """Return the figures of all replicas in Prometheus' text format."""
    replicas: dict[str, Iterable[Any]] = {endpoint.replica: read_samples(endpoint)}
    for path in sorted(endpoint.home.glob("figures/*.json")) if endpoint.home else ():
        with contextlib.suppress(OSError, ValueError, KeyError):  # it has just gone
            if path.stem != endpoint.replica and time.time() - path.stat().st_mtime < MAX_AGE_SECONDS:
                replicas[path.stem] = json.loads(path.read_bytes())["samples"]
    replicas["monitor"] = _monitored(endpoint)
    lines: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for replica, samples in replicas.items():
        for name, labels, value in samples:
            family = next(one for one in FAMILIES if name.startswith(one))
            lines[family].append(f"{name}{{{_format({**labels, 'replica': replica})}}} {value:g}")
    heads = {family: f"# HELP {family} {text}\n# TYPE {family} {kind}" for family, (kind, text) in FAMILIES.items()}
    return "\n".join(line for family, some in lines.items() if some for line in (heads[family], *some)) + "\n"


def _monitored(endpoint: Endpoint) -> Iterator[Sample]:
    """Yield what the monitor found last about each pipeline that is served (stages/monitor)."""
    folder = endpoint.home.parent / "monitor" if endpoint.home else None
    for name in endpoint.served if folder else ():
        with contextlib.suppress(OSError, ValueError, KeyError):  # it was not monitored
            yield from json.loads((folder / name / "figures.json").read_bytes())["samples"]  # type: ignore[operator]


def _format(labels: Mapping[str, str]) -> str:
    escaped = (
        (name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels.items()
    )
    return ",".join(f'{name}="{value}"' for name, value in escaped)
