"""Hold one released version: it parses, encodes and answers a request from beginning to end."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evergreen.stages.deploy.batching import Batcher
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.counters import BATCH_ROWS, Histogram
from evergreen.stages.deploy.request_body import RAISE, RequestError, parse_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.stages.answer_table import Answers

QUICK_SECONDS = 0.005  # of the processor: a batch that takes less runs in the event loop, others hardly notice
LOG = logging.getLogger("ray.serve")  # of the replica
LOG_SECONDS = 60.0  # at most one line in so long a time says what was unusual about the rows
WARM_BATCHES = 5  # of a version that may be quick; two of another
ROW_ID = "_id"  # the field of a row in which a caller may send an id of its own
QUICK_BYTES = 32 * 2**10  # of a body that is read in the event loop, and of the rows of such a batch


class Parsed(NamedTuple):
    """Rows that were read and checked, and the caller's own ids of them where there are any."""

    table: pa.Table
    row_ids: Sequence[Any] | None = None


class LoadedVersion:
    """Hold one released version, loaded and warmed up."""

    def __init__(self, entry: Mapping[str, Any], executor: ThreadPoolExecutor | None = None) -> None:
        from evergreen.data.kinds import kind_of
        from evergreen.data.unusual_values import UnusualValues
        from evergreen.stages.artifacts import load_model
        from evergreen.stages.deploy.engines import load_network

        self.entry, self.limits = dict(entry), DeployConfig().model_dump() | entry["limits"]
        self.version: str = entry["version"]
        folder = Path(entry["path"])
        model = load_model(folder)
        self.engine, network = load_network(folder, model, self.limits["engine"])
        self.model = dataclasses.replace(model, network=network)
        self.schema = self.model.spec.json_schema()
        self.row_bytes = sum(field.row_bytes for field in self.model.spec.inputs.values())  # as tensors
        self.has_plain_columns = all(kind_of(field).grouped for field in self.model.spec.inputs.values())
        self.batch_rows = Histogram(BATCH_ROWS)
        self.example_answer: dict[str, Any] = {}
        self.takes_files = '"format": "byte"' in json.dumps(self.schema)  # small ones may take long to decode
        self.is_quick = self._warm() < QUICK_SECONDS and not self.takes_files
        self.unusual, self._next_log = UnusualValues(with_examples=False), 0.0  # since the last line of the log
        self.answer = Batcher(
            self.predict,
            max_rows=self.limits["max_batch_rows"],
            max_waiting=self.limits["max_queue_rows"],
            wait_seconds=self.limits["batch_wait_ms"] / 1000,
            executor=executor,
            is_quick=self.is_quick_batch,
        )

    def is_quick_batch(self, tables: Sequence[pa.Table]) -> bool:
        """Tell whether a batch takes so little time that it may run in the event loop."""
        rows, size = sum(table.num_rows for table in tables), sum(table.get_total_buffer_size() for table in tables)
        return self.is_quick and rows <= self.limits["max_batch_rows"] and size <= QUICK_BYTES

    def parse(self, body: bytearray) -> Parsed:
        """Parse and check the rows of a JSON body within the limits. Raises RequestError and DataError."""
        return self.read_rows(parse_rows(body, self.limits))

    def read_rows(self, rows: list[Any], first_row: int = 0) -> Parsed:
        """Check rows as JSON has them, within the limits. Raises RequestError and DataError."""
        from evergreen.data.decode_limits import limit_decoding

        most = self.limits["max_decoded_bytes"]
        if len(rows) * self.row_bytes > most:
            problem = f"{len(rows)} rows take {len(rows) * self.row_bytes:,} bytes, {most:,} may be"
            fix = f"send fewer rows in each request, {RAISE.format('max_decoded_bytes')}"
            raise RequestError(413, problem, fix=fix)
        row_ids = [row.pop(ROW_ID, None) if isinstance(row, dict) else None for row in rows]
        with limit_decoding(self.limits):
            table = self.model.spec.parse_request(rows, "rows", self.unusual, first_row)
        return Parsed(table, row_ids if any(one is not None for one in row_ids) else None)

    def read_table(self, table: pa.Table, faults: Mapping[int, str], first_row: int) -> Parsed:
        """Check rows as a file has them; `faults` are those that could not be read, by their place in the table.

        Raises DataError naming the first row that cannot be answered; `first_row` is the number of the table's first.
        """
        from evergreen.core.errors import DataError
        from evergreen.data.decode_limits import limit_decoding

        spec, row_ids = self.model.spec, None
        if ROW_ID in table.column_names:
            row_ids, table = table.column(ROW_ID).to_pylist(), table.drop_columns([ROW_ID])
        with limit_decoding(self.limits):
            read, found = spec.validate_table(table)
        if wrong := {**found, **faults}:
            row, reason = min(wrong.items())
            raise DataError(reason, place=f"rows, row {first_row + row}", fix="correct the row or leave it out")
        known = set(read.column_names)
        self.unusual.ignore([name for name in table.column_names if name not in known], len(table))
        return Parsed(read, row_ids)

    def predict(self, table: pa.Table) -> list[dict[str, Any]]:
        """Answer rows, and count them and what training rows did not have."""
        self.batch_rows.observe(table.num_rows)
        return self.model.predict(table, unusual=self.unusual)

    def answer_table(self, table: pa.Table, *, is_valid: bool) -> Answers:
        """Do as `predict`, for formats that hold columns; `is_valid` says that `read_table` returned the rows."""
        self.batch_rows.observe(table.num_rows)
        return self.model.answer(table, unusual=self.unusual, is_valid=is_valid)

    def log_unusual(self, name: str) -> None:
        """Write to the log what was unusual about the rows since its last line: counts by field, and no values."""
        from evergreen.data.unusual_values import UnusualValues

        if time.monotonic() < self._next_log or not (lines := self.unusual.lines(noun="field")):
            return
        LOG.warning("%s %s: %s", name, self.version, "; ".join(lines))
        self.unusual, self._next_log = UnusualValues(with_examples=False), time.monotonic() + LOG_SECONDS

    def _warm(self) -> float:
        """Run one row and full batches, since the first run of a shape is slow; return the seconds of a full batch.

        They are the processor's, and the least of several: a busy machine serves in the same way as an idle one.
        """
        if "example" not in self.schema:
            return math.inf
        parse, example = self.model.spec.parse_request, self.schema["example"]
        self.model.predict(parse([example], "example"))
        table = parse([example] * self.limits["max_batch_rows"], "example")
        seconds: list[float] = []
        while len(seconds) < 2 or (len(seconds) < WARM_BATCHES and min(seconds) < 2 * QUICK_SECONDS):
            start = time.thread_time()
            self.example_answer = self.model.predict(table)[0]
            seconds.append(time.thread_time() - start)
        return min(seconds)

    def card(self) -> dict[str, Any]:
        """Describe the model to a person: architecture, scores, fields of a row."""
        shown = {key: self.model.card.get(key) for key in ("architecture", "task", "parameters", "scores")}
        about = {"version": self.version, "engine": self.engine, **shown}
        return {**about, "target": self.model.spec.target_name, "row": self.schema}
