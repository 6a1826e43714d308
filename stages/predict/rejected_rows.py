"""Set rows aside that cannot be answered, each with its reason, in a file beside the output."""

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from evergreen.core.errors import PipelineError
from evergreen.core.files import atomic_write
from evergreen.data.arrow import RowErrors, decode_array
from evergreen.data.sources import RESERVED
from evergreen.stages.predict.table_writers import write_csv

ENDING = ".rejected.csv"
FIX = "correct the row, or set such rows aside with --on-error skip; nothing was written"


class RejectedRows:
    """Take rows that cannot be answered out of tables; without a writer the first of them is an error."""

    def __init__(self, source: Path, writer: Generator[int, pa.Table, None] | None = None) -> None:
        self.source, self.rows = source, 0
        self._writer = writer

    @property
    def are_skipped(self) -> bool:
        """Tell whether the rows are set aside, and no error."""
        return self._writer is not None

    def remove(self, table: pa.Table, faults: RowErrors) -> np.ndarray:
        """Return (N,) bool: the rows of a table without a fault; the others are set aside.

        Raises PipelineError for the first one where rows are not set aside.
        """
        kept = np.ones(len(table), bool)
        if not faults:
            return kept
        origins = decode_array(table.column("_origin"))
        if self._writer is None:
            row, reason = min(faults.items())
            raise PipelineError(reason, place=str(self.source.parent / origins[row].as_py()), fix=FIX)
        rows = sorted(faults)
        kept[rows] = False
        places = pa.array(rows, pa.int64())
        own = table.drop_columns([name for name in RESERVED if name in table.column_names]).take(places)
        more = {"row": origins.take(places), "reason": pa.array([faults[row] for row in rows], pa.string())}
        self._writer.send(append_columns(own, more, "rejected_"))
        self.rows += len(rows)
        return kept


def unreadable_rows(table: pa.Table) -> RowErrors:
    """Return row → what the source could not read."""
    faults = decode_array(table.column("_fault")).to_pylist() if "_fault" in table.column_names else []
    return {row: fault for row, fault in enumerate(faults) if fault}


@contextlib.contextmanager
def open_rejected(source: Path, output: Path, *, skip: bool, raw: bool) -> Iterator[RejectedRows]:
    """Yield where the rejected rows of `source` go: with `skip` to OUTPUT.rejected.csv, whole or not at all.

    Where none is rejected there is no such file, nor one of an earlier call.
    """
    if not skip:
        yield RejectedRows(source)
        return
    path = output.with_name(output.name + ENDING)
    with atomic_write(path) as temporary:
        temporary.touch()
        with contextlib.closing(write_csv(temporary, raw=raw)) as writer:
            next(writer)
            rejected = RejectedRows(source, writer)
            yield rejected
    if not rejected.rows:
        path.unlink()


def append_columns(table: pa.Table, columns: dict[str, pa.Array], prefix: str) -> pa.Table:
    """Append columns; where a name is taken, all of them get the prefix, as often as it takes to tell them apart."""
    while not set(columns).isdisjoint(table.column_names):
        columns = {prefix + name: column for name, column in columns.items()}
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table
