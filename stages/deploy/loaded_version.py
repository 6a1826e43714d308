"""Hold one released version: it parses, encodes and answers a request from beginning to end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evergreen.core.errors import PipelineError
from evergreen.models.answers import Objects, mark_abstentions
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.batching import Batcher
from evergreen.stages.deploy.cluster_front import localize
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.counters import BATCH_ROWS, SECONDS, Histogram
from evergreen.stages.deploy.request_body import RAISE, RequestError, parse_rows, while_connected
from evergreen.stages.deploy.version_process import VersionProcessError

if TYPE_CHECKING:
    import pyarrow as pa
    from starlette.requests import Request

    from evergreen.models.text_stream import Piece, Sampling
    from evergreen.stages.deploy.text_process import TextProcess

QUICK_SECONDS = 0.005  # of the processor: a batch that takes less runs in the event loop, others hardly notice
LOG = logging.getLogger("ray.serve")  # of the replica
LOG_SECONDS = 60.0  # at most one line in so long a time says what was unusual about the rows
WARM_BATCHES = 5  # of a version that may be quick; two of another
ROW_ID = "_id"  # the field of a row in which a caller may send an id of its own
QUICK_BYTES = 32 * 2**10  # of a body that is read in the event loop, and of the rows of such a batch


class Parsed(NamedTuple):
    """Rows that were read and checked, and what came beside the fields of them: the caller's own ids, times."""

    table: pa.Table
    row_ids: Sequence[Any] | None = None
    moments: Sequence[Any] | None = None  # of a forecast's history, where they were sent

    def slice(self, first: int, n_rows: int) -> Parsed:
        """Return some of the rows."""
        beside = (one and one[first : first + n_rows] for one in self[1:])
        return Parsed(self.table.slice(first, n_rows), *beside)


Parse = Callable[[bytearray], Parsed]


class LoadedVersion:
    """Hold one released version, loaded and warmed up."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        from evergreen.data.kinds import kind_of
        from evergreen.data.unusual_values import UnusualValues
        from evergreen.models.text_stream import WritesText
        from evergreen.stages.artifacts import load_model
        from evergreen.stages.coverage import Coverage
        from evergreen.stages.deploy.engines import load_network

        self.entry, self.limits = dict(entry), DeployConfig().model_dump() | entry["limits"]
        self.version: str = entry["version"]
        entry = localize(entry)
        folder = Path(entry["path"])
        model = load_model(folder)
        self.engine, network = load_network(folder, model, self.limits["engine"])
        self.model = dataclasses.replace(model, network=network)
        self.schema = self.model.spec.json_schema()
        self.row_bytes = sum(field.row_bytes for field in self.model.spec.inputs.values())  # as tensors
        self.has_plain_columns = all(kind_of(field).grouped for field in self.model.spec.inputs.values())
        self.batch_rows = Histogram(BATCH_ROWS)
        task, spec = self.model.network.task, self.model.spec
        self.coverage = Coverage.load(task, Path(entry["predictions"]) if entry.get("predictions") else None)
        self.time = spec.time if task.IS_FORECAST and spec.time not in spec.columns else None
        self.least = self.limits["abstain"]
        if self.least and not (task.HAS_PROBABILITIES and kind_of(spec.target).HAS_CLASSES):
            problem = "answers without the probability of one class cannot abstain"
            raise PipelineError(problem, place="deploy.abstain", fix="leave it out")
        self.writes_text = isinstance(task, WritesText)
        self.texts: TextProcess | None = None  # which writes them in place of this process
        self.first_piece = Histogram(SECONDS)  # until the first piece of a text
        self.example_answer: dict[str, Any] = {}
        self.takes_files = '"format": "byte"' in json.dumps(self.schema)  # small ones may take long to decode
        self.is_quick = self._warm() < QUICK_SECONDS and not self.takes_files
        self.unusual, self._next_log = UnusualValues(with_examples=False), 0.0  # since the last line of the log
        self.answer = Batcher(
            self.predict,
            max_rows=self.limits["max_batch_rows"],
            max_waiting=self.limits["max_queue_rows"],
            wait_seconds=self.limits["batch_wait_ms"] / 1000,
            executor=ThreadPoolExecutor(1, thread_name_prefix="predict"),  # its own: it holds up no other pipeline
            is_quick=self.is_quick_batch,
        )

    async def answer_request(self, table: pa.Table, request: Request) -> Objects:
        """Return the answers; a client that leaves a slow model frees its place. Raises ClientDisconnect if it did."""
        if self.is_quick:
            return await self.answer(table)
        return await while_connected(asyncio.create_task(self._answer_slowly(table)), request)

    async def _answer_slowly(self, table: pa.Table) -> Objects:
        if self.texts:
            with contextlib.suppress(VersionProcessError):
                answers = await self.texts.answer(table)
                self.batch_rows.observe(table.num_rows)
                return answers
        return await self.answer(table)

    def is_quick_batch(self, tables: Sequence[pa.Table]) -> bool:
        """Tell whether a batch takes so little time that it may run in the event loop."""
        rows, size = sum(table.num_rows for table in tables), sum(table.get_total_buffer_size() for table in tables)
        return self.is_quick and rows <= self.limits["max_batch_rows"] and size <= QUICK_BYTES

    def parse(self, body: bytearray) -> Parsed:
        """Parse and check the rows of a JSON body within the limits. Raises RequestError and DataError."""
        return self.read_rows(parse_rows(body, self.limits))

    def parse_form(self, content_type: str) -> Parse:
        """Return what parses the fields and files of a form as `parse` does the rows of JSON."""
        from evergreen.stages.deploy.form_data import read_form

        return lambda body: self.read_rows(read_form(body, content_type, self.schema, self.limits))

    def read_rows(self, rows: list[Any], first_row: int = 0) -> Parsed:
        """Check rows as JSON has them, within the limits. Raises RequestError and DataError."""
        from evergreen.data.decode_limits import limit_decoding

        most = self.limits["max_decoded_bytes"]
        if len(rows) * self.row_bytes > most:
            problem = f"{len(rows)} rows take {len(rows) * self.row_bytes:,} bytes, {most:,} may be"
            fix = f"send fewer rows in each request, {RAISE.format('max_decoded_bytes')}"
            raise RequestError(413, problem, fix=fix)
        beside = [_take(rows, name) if name else None for name in (ROW_ID, self.time)]
        with limit_decoding(self.limits):
            table = self.model.spec.parse_request(rows, "rows", self.unusual, first_row)
        return Parsed(table, *beside)

    def read_table(self, table: pa.Table, faults: Mapping[int, str], first_row: int) -> Parsed:
        """Check rows as a file has them; `faults` are those that could not be read, by their place in the table.

        Raises DataError naming the first row that cannot be answered; `first_row` is the number of the table's first.
        """
        from evergreen.core.errors import DataError
        from evergreen.data.decode_limits import limit_decoding

        spec, named = self.model.spec, {ROW_ID, self.time} & {*table.column_names}
        beside = [table.column(name).to_pylist() if name in named else None for name in (ROW_ID, self.time)]
        table = table.drop_columns([*named])
        with limit_decoding(self.limits):
            read, found = spec.validate_table(table)
        if wrong := {**found, **faults}:
            row, reason = min(wrong.items())
            raise DataError(reason, place=f"rows, row {first_row + row}", fix="correct the row or leave it out")
        known = set(read.column_names)
        self.unusual.ignore([name for name in table.column_names if name not in known], len(table))
        return Parsed(read, *beside)

    def predict(self, table: pa.Table) -> list[dict[str, Any]]:
        """Answer rows, and count them and what training rows did not have."""
        self.batch_rows.observe(table.num_rows)
        answers: Objects = self.model.predict(table, unusual=self.unusual)
        return mark_abstentions(answers, self.least)

    def answer_table(self, table: pa.Table, *, is_valid: bool) -> Answers:
        """Do as `predict`, for formats that hold columns; `is_valid` says that `read_table` returned the rows."""
        self.batch_rows.observe(table.num_rows)
        answers = self.model.answer(table, unusual=self.unusual, is_valid=is_valid)
        return Answers([mark_abstentions(part, self.least) for part in answers.parts])

    def write(self, table: pa.Table, sampling: Sampling) -> Iterator[Piece]:
        """Write the answer to one row in pieces."""
        import torch

        from evergreen.models.text_stream import write_text

        self.batch_rows.observe(table.num_rows)
        arrays = self.model.spec.encode(table, target=False, unusual=self.unusual)
        return write_text(self.model.network, {name: torch.as_tensor(one) for name, one in arrays.items()}, sampling)

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
            answers = mark_abstentions(self.model.predict(table), self.least)
            seconds.append(time.thread_time() - start)
        self.example_answer = answers[0]
        return min(seconds)

    def card(self) -> dict[str, Any]:
        """Describe the model to a person: architecture, scores, fields of a row."""
        shown = {key: self.model.card.get(key) for key in ("architecture", "task", "parameters", "scores")}
        about = {"version": self.version, "engine": self.engine, **shown}
        about["coverage_rows"] = len(self.coverage.misses) if self.coverage else 0
        return {**about, "target": self.model.spec.target_name, "row": self.schema}


def _take(rows: list[Any], name: str) -> list[Any] | None:
    """Take what rows have under a name that is no field out of them; None where none has it."""
    values = [row.pop(name, None) if isinstance(row, dict) else None for row in rows]
    return values if any(one is not None for one in values) else None
