"""Use released models and projects from Python: `load`, `Model`, `Project`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import DataError, PipelineError, suggest
from evergreen.core.paths import Paths, find_root
from evergreen.core.progress import Progress, no_progress

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.artifacts import Model as StoredModel

FRAME_ATTRIBUTES = ("__arrow_c_stream__", "iloc")
PLACE = "the rows"  # where an error in a frame lies


def load(model: str | Path) -> Model:
    """Load a model: "NAME" in production, "NAME@VERSION", or a folder that holds `model.json`.

    A name is looked up in the project at or above the working directory; `Project(path).load(name)` looks elsewhere.
    A folder needs no project and no git.

    Raises:
        PipelineError: there is no such folder, project or release, or a file of the model is missing or broken.
        VersionError: the pipeline has no such version, or its bytes are nowhere.
    """
    folder = Path(model).expanduser()
    if isinstance(model, Path) or "/" in model or (folder / "model.json").is_file():
        return _load_folder(folder)
    return Project().load(model)


class Model:
    """Predict with a stored model; it carries the encoding it was trained with and needs no training data."""

    def __init__(self, stored: StoredModel, *, is_quiet: bool = False) -> None:
        """Wrap a model that `load` read, or a quiet one that an estimator trained."""
        self._stored, self._is_quiet = stored, is_quiet

    @property
    def card(self) -> Mapping[str, Any]:
        """The facts of the model: its architecture, task, options, and its encoding as JSON."""
        return self._stored.card

    @property
    def spec(self) -> FeatureSpec:
        """The encoding of its inputs and target: `spec.columns` are those that a frame must have."""
        return self._stored.spec

    @property
    def classes(self) -> list[Any]:
        """The classes in the order of `predict_proba`'s columns; empty where the model predicts none."""
        from evergreen.data.kinds import kind_of

        return list(self.spec.target.state["values"][0]) if kind_of(self.spec.target).HAS_CLASSES else []

    def predict(self, frame: Any) -> Any:
        """Predict each row of a frame: a dict for each row of a list of dicts, else an Arrow table.

        `frame` is a pandas or Polars DataFrame, an Arrow table or record batch, a mapping of columns, or a list of
        dicts in which values are as in a request to the endpoint. Columns that the model does not read are passed over.
        The answer has `prediction`, `low` and `high` where the model gives an interval, and each class's probability:
        as `p_<class>` in a table, as the dict `probabilities` in a list. A forecast takes a table with the history.
        One UserWarning says what was unusual: values that no training row had or that lie outside their range, and
        missing ones that were filled.

        Raises:
            DataError: a column is missing, or a row cannot be encoded; the message names the row and the column.
        """
        from evergreen.stages.answer_table import answer_columns
        from evergreen.stages.predict.forecast import forecast

        if is_rows(frame):
            return self._answer(frame)
        import pyarrow as pa

        if self.spec.time and self._stored.network.task.IS_FORECAST:
            table = to_table(frame)
            origins = pa.array([f"{PLACE}, row {row}" for row in range(len(table))])
            return pa.table(forecast(self._stored, table.append_column("_origin", origins), Path("frame")))
        answers = self._answer(frame)
        return pa.table(answer_columns(answers) if answers else {"prediction": []})

    def predict_proba(self, frame: Any) -> np.ndarray:
        """Predict the probability of each class: (N, K), in the order of `classes`.

        Raises:
            DataError: as `predict`, and where the model does not predict classes.
        """
        import numpy as np

        answers = self._answer(frame)
        if not self.classes or any("probabilities" not in answer for answer in answers):
            raise DataError(f"{self.spec.task} does not predict probabilities", fix="use predict")
        return np.array([[*answer["probabilities"].values()] for answer in answers]).reshape(-1, len(self.classes))

    def save(self, folder: str | Path) -> None:
        """Write the weights and the card into a folder, anew; `load` reads it."""
        from evergreen.stages.artifacts import save_model

        save_model(Path(folder), self._stored.network, self._stored.card)

    def _answer(self, frame: Any) -> list[dict[str, Any]]:
        """Answer each row; warn once of what was unusual, unless the model is quiet."""
        from evergreen.data.unusual_values import UnusualValues

        unusual = UnusualValues()
        answers = self._stored.predict(self._checked(frame), unusual=unusual)
        if (lines := unusual.lines()) and not self._is_quiet:
            warnings.warn("; ".join(lines), stacklevel=3)
        return answers

    def _checked(self, frame: Any) -> pa.Table:
        """Return the frame's input columns in the types of their kinds."""
        if is_rows(frame):
            return self.spec.parse_request([dict(row) for row in frame], PLACE)
        table, faults = self.spec.validate_table(to_table(frame))
        if faults:
            row, reason = min(faults.items())
            raise DataError(reason, place=f"{PLACE}, row {row}", fix="correct the value or leave the row out")
        return table


class Project:
    """Work with the pipelines of one project, as the command line does."""

    def __init__(self, path: str | Path = ".") -> None:
        """Find the project at or above `path`; PipelineError where there is none."""
        self.root = find_root(Path(path).expanduser())

    @property
    def pipelines(self) -> list[str]:
        """The names of the pipelines, in alphabetical order."""
        from evergreen.stages.pipeline import names

        return names(self.root)

    def status(self, name: str = "") -> dict[str, Any]:
        """Describe each pipeline, or one: what is stale and why, its scores, what is released and served.

        Raises:
            PipelineError: there is no such pipeline.
        """
        from evergreen.flows.overview import describe_project

        with contextlib.chdir(self.root):
            return describe_project(self.root, name)

    def run(self, name: str, progress: Progress = no_progress, *, baseline_only: bool = False) -> dict[str, Any]:
        """Bring a pipeline up to date, release it if it is better, serve it; return what `evergreen run --json` prints.

        The working directory is the project's root meanwhile. `progress` is called with facts about each stage. With
        `baseline_only` the candidate is not compared with the released version, and nothing is released.

        Raises:
            UserError: a mistake in the pipeline or its data; the message says where it is and what to do.
        """
        from evergreen.flows.update import update

        with contextlib.chdir(self.root):
            return update(self.root, name, progress, baseline_only=baseline_only)

    def load(self, name: str) -> Model:
        """Load "NAME" in production, or "NAME@VERSION"; see `evergreen.load`."""
        from evergreen.stages.engines import versions
        from evergreen.stages.pipeline import names

        name, _, version = name.partition("@")
        paths = Paths(self.root, name)
        version = version or versions.released(self.root).get(name, "")
        if not version:
            fix = (
                f"make one with: evergreen run {name}" if name in names(self.root) else suggest(name, names(self.root))
            )
            raise PipelineError(f"{name} has no released version", place=str(self.root), fix=fix)
        versions.prepare(self.root)
        return _load_folder(versions.checkout(paths, version))


def _load_folder(folder: Path) -> Model:
    from evergreen.stages.artifacts import load_model

    return Model(load_model(folder))


def is_frame(value: Any) -> bool:
    """Return whether a value has named columns: a data frame, an Arrow table, a mapping, a list of dicts."""
    return isinstance(value, Mapping) or is_rows(value) or any(hasattr(value, name) for name in FRAME_ATTRIBUTES)


def to_table(frame: Any) -> pa.Table:
    """Convert a data frame, a record batch, a list of dicts or a mapping of columns to an Arrow table.

    Raises:
        DataError: the frame is of another type, or its columns differ in length.
    """
    import pyarrow as pa

    try:
        if isinstance(frame, pa.Table):
            return frame
        if isinstance(frame, Mapping) or hasattr(frame, "iloc"):  # pandas, whose index is no column
            return pa.table({str(name): _to_array(column) for name, column in frame.items()})
        if is_rows(frame):
            return pa.Table.from_pylist([dict(row) for row in frame])
        return pa.table(frame)  # whatever speaks Arrow's C interface: Polars, DuckDB, record batches
    except (TypeError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        fix = "give a DataFrame, an Arrow table, a list of dicts or a dict of columns"
        raise DataError(f"a {type(frame).__name__} is not a frame ({error})", fix=fix) from error


def _to_array(column: Any) -> pa.Array:
    """Convert a list, a NumPy array (one of matrices to Arrow's tensors), a pandas Series or an Arrow array."""
    import numpy as np
    import pyarrow as pa

    if hasattr(column, "iloc"):
        column = column.array if hasattr(column.array, "__arrow_array__") else column.to_numpy()
    if getattr(column, "ndim", 1) > 1:
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(column))
    return column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, from_pandas=True)


def is_rows(frame: Any) -> bool:
    """Return whether a value is a list of dicts, one a row."""
    return isinstance(frame, Sequence) and bool(frame) and all(isinstance(row, Mapping) for row in frame)
