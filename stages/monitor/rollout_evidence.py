"""Compare a version beside the one in production with it, by the log of requests, while they come.

Four streams of numbers from 0 to 1, one a request or label, each with the mean that it may have at most: errors,
latency, disagreement and, where labels came, loss. A version is worse where one of them is above its bound, and good
where all are below. Only where no labels come does disagreement count to the end: a version that mends what drift broke
answers otherwise by design, and labels say which of the two is right.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from evergreen.stages.monitor.sequential_test import compare, log_evidence
from evergreen.stages.request_files import CANARY, PRODUCTION, SHADOW, read_pieces

if TYPE_CHECKING:
    from evergreen.stages.operation import CanaryConfig

ALPHA = 0.05  # a worse version is promoted with this probability at most, an equal one aborted
MAX_ERRORS = 0.01  # share of requests that it may leave to production
FLOOR_MS = 5.0  # by so much more than production it may take in any case
MARGIN = 0.05  # by which its loss may be the larger one of more pairs than not
MAX_WAITING = 100_000  # rows that wait for what they are compared with
COLUMNS = ("request_id", "row", "time", "version", "role", "latency_ms", "answered")
Key = tuple[str, int]  # request id and row


@dataclass(frozen=True)
class Decision:
    """Hold what the requests say about a version so far."""

    verdict: str  # promote, abort, or "" while they cannot tell
    why: str
    streams: Mapping[str, Mapping[str, float]]  # name → n, mean, bound, and the evidence for worse and for good


class Evidence:
    """Gather what a pipeline's log says about a version since it was put beside the one in production."""

    def __init__(self, folder: Path, production: str, version: str, since: str, config: CanaryConfig) -> None:
        self.folder, self.production, self.version, self.config = folder, production, version, config
        self.since = datetime.fromisoformat(since)
        self.position: dict[str, int] = {}
        self.labelled: set[Key] = set()
        self.has_labels = False  # whether any come to this pipeline
        self.streams: dict[str, list[float]] = {"errors": [], "latency": [], "disagreement": [], "loss": []}
        self.bounds = {
            "errors": MAX_ERRORS,
            "latency": 0.5,
            "disagreement": config.max_disagreement,
            "loss": (1 + MARGIN) / 2,
        }
        self._latencies: dict[str, deque[float]] = {PRODUCTION: deque(maxlen=MAX_WAITING), CANARY: deque()}
        self._losses: dict[str, deque[float]] = {PRODUCTION: deque(), "": deque()}
        self._answers: dict[str, dict[Key, Any]] = {PRODUCTION: {}, SHADOW: {}, CANARY: {}}

    def read(self) -> None:
        """Read what the log holds more than before."""
        for key, first, table in read_pieces(self.folder, self.position, COLUMNS):
            self.position[key] = first + table.num_rows
            version, role = table["version"][0].as_py(), table["role"][0].as_py()
            if role in self._answers and version == (self.production if role == PRODUCTION else self.version):
                rows = table.to_pylist()
                self._add(role, (row for row in rows if row["time"] >= self.since))
        self._compare_answers()
        self._add_labels()

    def _add(self, role: str, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            is_failure = "problem" in row["answered"]
            if role != PRODUCTION and row["row"] <= 0:
                self.streams["errors"].append(float(is_failure))
            if is_failure:
                continue
            if role in self._latencies and row["row"] == 0:
                self._latencies[role].append(row["latency_ms"])
            self._keep(role, (row["request_id"], row["row"]), row["answered"].get("prediction"))
        stable, canary = self._latencies[PRODUCTION], self._latencies[CANARY]
        while stable and canary:
            limit = self.config.max_slowdown * stable.popleft() + FLOOR_MS
            self.streams["latency"].append(float(canary.popleft() > limit))

    def _compare_answers(self) -> None:
        """Tell of each request that both answered whether they say the same; of one of many rows, the first counts."""
        stable, shadow = self._answers[PRODUCTION], self._answers[SHADOW]
        numbers = [value for value in stable.values() if isinstance(value, float)]
        tolerance = float(np.std(numbers)) / 2 if numbers else 0.0
        for key in [key for key in shadow if key in stable and not key[1]]:
            self.streams["disagreement"].append(float(differ(shadow[key], stable[key], tolerance)))
            self._keep(CANARY, key, shadow.pop(key))  # for a label that comes later

    def _keep(self, role: str, key: Key, answer: Any) -> None:
        """Keep an answer until it is compared, or too many wait."""
        answers = self._answers[role]
        answers[key] = answer
        if len(answers) > MAX_WAITING:
            answers.pop(next(iter(answers)))

    def _add_labels(self) -> None:
        """Compare losses where labels came: of the same row where a shadow answered it, else of one and another."""
        first, files = f"{int(self.since.timestamp() * 1e9):020d}", sorted(self.folder.glob("labels/*.parquet"))
        self.has_labels = bool(files)
        for file in (one for one in files if one.stem >= first):
            table = pq.read_table(file, columns=["request_id", "row", "label"])
            for row in table.to_pylist():
                key = (row["request_id"], row["row"])
                if key in self.labelled:
                    continue
                for role, side in ((PRODUCTION, PRODUCTION), (CANARY, "")):
                    if key in self._answers[role]:
                        self.labelled.add(key)
                        self._losses[side].append(loss(self._answers[role][key], row["label"]))
        stable, own = self._losses[PRODUCTION], self._losses[""]
        while stable and own:
            self.streams["loss"].append(compare(own.popleft(), stable.popleft()))

    def decide(self) -> Decision:
        """Return what the streams say; a version without evidence of one of them is not promoted."""
        streams, worse, open_names, good = {}, [], [], []
        for name, numbers in self.streams.items():
            bound, n = self.bounds[name], len(numbers)
            above, below = (log_evidence(numbers, bound, is_above=side) for side in (True, False))
            streams[name] = {
                "n": n,
                "mean": sum(numbers) / n if n else 0.0,
                "bound": bound,
                "worse": above,
                "good": below,
            }
            if above >= math.log(len(self.streams) / ALPHA):
                worse.append(name)
            elif below >= math.log(1 / ALPHA):
                good.append(name)
            elif n or name != "loss":
                open_names.append(name)
        if "loss" in good:
            worse, open_names = ([name for name in some if name != "disagreement"] for some in (worse, open_names))
        elif worse == ["disagreement"] and self.has_labels:  # they will tell
            worse, open_names = [], [*worse, *open_names]
        verdict, word, names = ("", "open", open_names) if open_names else ("promote", "not worse", good)
        if worse:
            verdict, word, names = "abort", "worse", worse
        return Decision(verdict, f"{word}: {', '.join(_tell(name, streams[name]) for name in names)}", streams)


def differ(first: Any, second: Any, tolerance: float) -> bool:
    """Tell whether two answers are other ones; numbers are where they lie further apart than the tolerance."""
    if isinstance(first, float) and isinstance(second, float):
        return not abs(first - second) <= tolerance
    return bool(first != second)


def loss(answer: Any, label: Any) -> float:
    """Return how far an answer is from what was true: a distance, or 1 for another one."""
    if isinstance(answer, float) and isinstance(label, int | float):
        return abs(answer - label)
    return float(answer != label)


def _tell(name: str, stream: Mapping[str, float]) -> str:
    return f"{name} {stream['mean']:.3g} of {stream['n']:,.0f} (bound {stream['bound']:.3g})"
