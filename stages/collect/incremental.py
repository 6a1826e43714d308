"""Read rows beyond a watermark and add them to those collected before."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data.sources import RESERVED, Source
from evergreen.stages.collect import watermark
from evergreen.stages.collect.compaction import drop_rows, merge_small_parts
from evergreen.stages.collect.manifest import Part, next_number, write_parts
from evergreen.stages.collect.watermark import Mark


def read_new_rows(
    source: Source,
    column: str,
    wanted: tuple[Mark, Mark],
    late: float,
    covered: dict[str, Any],
    before: Sequence[Part],
    staging: Path,
    report_rows: Callable[[int], None],
    *,
    anew: Set[str] = frozenset(),
) -> tuple[list[Part], dict[str, Any], dict[str, int]]:
    """Return the parts with the new rows of a range added, what is covered by then, and counts of added rows.

    It reads what lies beyond the last row collected, and `late` before it, where rows may still have come; what
    lies before the first one, where the range now begins earlier; and rows of the origins `anew`. No row is added
    twice.
    """
    since, until = (-math.inf if wanted[0] is None else watermark.to_position(wanted[0])), wanted[1]
    end = math.inf if until is None else watermark.to_position(until)
    reading = IncrementalRead(source, column, covered, before, report_rows)
    reading.times = any(isinstance(mark, str) for mark in (*wanted, covered.get("to")))
    ranges = [(since, end)]
    if before:
        ranges = [(max(reading.start, reading.top - late), end)]
        if since < reading.start:
            ranges.insert(0, (since, reading.start))
    parts = list(before)
    for left, (low, high) in enumerate(ranges, 1 - len(ranges)):
        rest = None if left else anew  # with the last range
        parts += write_parts(reading.between(low, high, rest), staging, next_number(parts), [], lambda rows: None)
    counts = dict(reading.counts)
    if reading.older > reading.held_older:  # more lie at the source than were collected when it was their turn
        counts["too late"] = reading.older - reading.held_older
    start = min(since, reading.start) if before else since
    begun = None if start == -math.inf else watermark.from_position(start, reading.times)
    reached = None if reading.top == -math.inf else watermark.from_position(reading.top, reading.times)
    return merge_small_parts(parts, staging) if before else parts, {"from": begun, "to": reached}, counts


def drop_unreadable_rows(parts: Sequence[Part], folder: Path) -> tuple[list[Part], set[str]]:
    """Return the parts without unreadable rows, rewritten in `folder` where they held such, and those rows' origins."""
    left, origins = [], set()
    for part in parts:
        bad = part.faulty()
        if bad.any():
            origins |= set(part.read(["_origin"]).filter(pa.array(bad)).column("_origin").to_pylist())
        left += drop_rows(part, ~bad, folder) if bad.any() else [part]
    return left, origins


class IncrementalRead:
    """Read a source once. Positions are in the common order of `watermark`."""

    def __init__(
        self,
        source: Source,
        column: str,
        covered: dict[str, Any],
        parts: Sequence[Part],
        report_rows: Callable[[int], None],
    ) -> None:
        self.source, self.column, self.parts, self.report_rows = source, column, parts, report_rows
        start, top = covered.get("from"), covered.get("to")
        self.start = -math.inf if start is None else watermark.to_position(start)
        self.reached = self.top = -math.inf if top is None else watermark.to_position(top)
        self.times = False
        self.counts: Counter[str] = Counter({"new": 0, "late": 0})
        self.older = self.held_older = 0

    def between(self, low: float, high: float, rest: Set[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range that were not collected before.

        Unless `rest` is None, also rows of the origins `rest` and rows without a position.
        """
        known_hashes = self._count_hashes(low, high)
        asked = self.source
        if not rest and (self.reached > -math.inf or math.isfinite(low) or math.isfinite(high)):
            bounds = [
                None if not math.isfinite(at) else watermark.widen_bound(at, self.times, days)
                for at, days in ((low, -1), (high, 2))
            ]
            asked = asked.with_range(self.column, *bounds)
        for batch in asked.read():
            at, self.times = self._where(batch)
            inside = (at >= low) & (at < high)
            if rest is not None:
                inside |= np.isnan(at) | pc.is_in(batch["_origin"], pa.array(sorted(rest), pa.string())).to_numpy(False)
            self.older += int(np.count_nonzero((at < low) & (at >= self.start) & ~inside))
            again = np.flatnonzero(inside & ~(at > self.reached))
            for row, content in zip(again, content_hashes(batch.take(pa.array(again))), strict=True):
                if known_hashes[content]:
                    known_hashes[content] -= 1
                    inside[row] = False
            new = batch.filter(pa.array(inside))
            if not len(new):
                continue
            self.counts["new"] += len(new)
            self.counts["late"] += int(np.count_nonzero(inside & (at < self.reached)))
            self.top = max(self.top, np.nanmax(at[inside], initial=-math.inf))
            self.report_rows(len(new))
            yield new

    def _where(self, batch: pa.RecordBatch) -> tuple[Any, bool]:
        names = [name for name in batch.schema.names if name not in RESERVED]
        if self.column not in names:
            problem = f"there is no column '{self.column}'"
            raise DataError(problem, place="collect.watermark", fix=suggest(self.column, names))
        at, times = watermark.positions_of(batch.column(self.column))
        if np.isnan(at).all() and batch.column(self.column).null_count < len(batch):
            problem = f"column '{self.column}' holds neither numbers nor times"
            raise DataError(problem, place="collect.watermark", fix="choose a column that grows with every new row")
        return at, times or (self.times and bool(np.isnan(at).all()))

    def _count_hashes(self, low: float, high: float) -> Counter[bytes]:
        """Count how often each content was collected in a range, and the rows before it."""
        hashes: Counter[bytes] = Counter()
        self.older = self.held_older = 0
        for part in self.parts:
            at, _ = watermark.positions_of(part.read([self.column])[self.column])
            self.held_older += int(np.count_nonzero((at < low) & (at >= self.start)))
            some = np.flatnonzero(np.isnan(at) | ((at >= low) & (at < high)))
            if len(some):
                hashes.update(content_hashes(part.read().take(pa.array(some))))
        return hashes


def content_hashes(rows: pa.Table | pa.RecordBatch) -> list[bytes]:
    """Return the hash of each row's content, without its origin, in 16 bytes."""
    if not len(rows):
        return []
    columns = [rows.column(name).to_pylist() for name in sorted(rows.schema.names) if name != "_origin"]
    return [hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in zip(*columns, strict=True)]
