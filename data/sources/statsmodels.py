"""The data sets that statsmodels ships: `statsmodels:sunspots` (yearly), elnino (monthly), co2 (weekly) and others."""

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources
from evergreen.data.sources.sklearn import clean

NAMES = {"sunspots": {"sunactivity": "activity"}}


class StatsmodelsSource(sources.Source):
    REQUIRES: ClassVar[dict[str, str]] = {"statsmodels": "demo"}

    def read(self) -> Iterator[pa.RecordBatch]:
        frame = self._module().load_pandas().data
        table = _months(frame) if self.name == "elnino" else _table(frame, NAMES.get(self.name, {}))
        yield from sources.with_origin(table, f"statsmodels:{self.name}").combine_chunks().to_batches(sources.ROWS)

    def fingerprint(self) -> str:
        return f"statsmodels {version('statsmodels')} {self.name}"

    def _module(self) -> Any:
        import statsmodels.datasets

        known = sorted(
            module.name
            for module in pkgutil.iter_modules(statsmodels.datasets.__path__)
            if module.ispkg and module.name != "tests"
        )
        if self.name not in known:
            fix = suggest(self.name, known)
            raise DataError(f"statsmodels ships no data set '{self.name}'", place=f"statsmodels:{self.name}", fix=fix)
        return importlib.import_module(f"statsmodels.datasets.{self.name}")


def _table(frame: Any, rename: dict[str, str]) -> pa.Table:
    """Return the frame's columns by clean names; a time index, or year and quarter, become the column `time`."""
    if {"year", "quarter"} <= set(frame.columns):
        months = (frame["year"] - 1970) * 12 + (frame["quarter"] - 1) * 3
        frame = frame.set_index(months.astype(int).to_numpy().astype("datetime64[M]").astype("datetime64[s]"))
    if frame.index.dtype.kind == "M":
        frame = frame.rename_axis("time").reset_index()
    names = [clean(str(name)) for name in frame.columns]
    return (
        pa.Table.from_pandas(frame, preserve_index=False)
        .rename_columns([rename.get(name, name) for name in names])
        .replace_schema_metadata()
    )


def _months(frame: Any) -> pa.Table:
    """Return a row a month from a row a year: `month` and `temperature` in °C."""
    years = frame.iloc[:, 0].astype(int).to_numpy()
    starts = (years[:, None] - 1970) * 12 + np.arange(12)
    months = starts.ravel().astype("datetime64[M]").astype("datetime64[D]")
    return pa.table(
        {
            "month": pa.array(months),
            "temperature": pa.array(frame.iloc[:, 1:].to_numpy(dtype=float).ravel(), from_pandas=True),
        }
    )
