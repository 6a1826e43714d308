"""Train networks as scikit-learn estimators, in memory and in this process: `Classifier` and `Regressor`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from evergreen.api import Model, is_frame, to_table
from evergreen.core.config import build
from evergreen.core.errors import DataError
from evergreen.data.arrow import to_numpy
from evergreen.data.feed.batches import InMemoryBatches
from evergreen.data.kinds import find as find_kind
from evergreen.data.prepare.assignment import Assignment
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.infer import detect_kind
from evergreen.data.prepare.split import VALIDATION
from evergreen.data.prepare.table_reader import TableReader
from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec
from evergreen.models import registry
from evergreen.models.training.trainer import Trainer
from evergreen.stages import artifacts
from evergreen.stages.trials.folds import FEW_ROWS
from evergreen.stages.trials.trial import first_metric, split_config_and_options

TARGET = "_target"  # the column that y becomes
MAX_RACED = 3  # architectures that "auto" compares
Rows = Mapping[str, Any]
NO_TEST = 1e-12  # share of test rows: whoever calls `fit` has set them apart


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """Infer the kinds of the columns, encode the rows, train, and keep the network that validates best."""

    def __init__(
        self,
        architecture: str = "auto",
        *,
        epochs: int | None = None,
        options: Mapping[str, Any] | None = None,
        kinds: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.2,
        random_state: Any = 0,
    ) -> None:
        self.architecture = architecture
        self.epochs = epochs
        self.options = options
        self.kinds = kinds
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @property
    def _task(self) -> str:
        return registry.find_estimated(next(cls.__name__ for cls in type(self).__mro__ if cls.__module__ == __name__))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        return tags

    def _fit(self, X: Any, y: np.ndarray, labels: list[Any] | None = None) -> None:
        """Train on y (N,): numbers, or places in `labels`."""
        table = self._to_table(X, is_fit=True)
        check_consistent_length(y, np.empty(len(table)))
        seed = self.random_state
        seed = seed if isinstance(seed, int) else int(check_random_state(seed).randint(2**31))
        spec, train, validation = self._prepare(table.append_column(TARGET, pa.array(y)), seed)
        if labels:
            state = {"values": [labels], "types": ["integer" if isinstance(labels[0], int) else "string"]}
            spec = replace(spec, target=replace(spec.target, state={**spec.target.state, **state}))
        names = [self.architecture] if self.architecture != "auto" else _candidates(spec)
        with _reproducible():
            trained = [self._train(name, spec, train, validation, seed) for name in names]
            best = max(trained, key=lambda one: one[0])
            network, name = best[1], names[trained.index(best)]
            if len(y) <= FEW_ROWS and validation is not train:  # all rows are learned from, as the one without told
                rows = {key: np.concatenate([column, validation[key]]) for key, column in train.items()}
                network = self._train(name, spec, rows, rows, seed, keep="last", patience=0, epochs=best[4])[1]
                network.task.load_state_dict(dict(best[1].task.named_buffers()), strict=False)
        self.leaderboard_ = [{"architecture": name, **one[2]} for name, one in zip(names, trained, strict=True)]
        self.architecture_ = name
        card = {"architecture": self.architecture_, "task": self._task, "options": best[3], "spec": spec.to_json()}
        self.model_ = Model(artifacts.Model(network.eval(), spec, card), is_quiet=True)

    def _to_table(self, X: Any, *, is_fit: bool) -> pa.Table:
        """Convert a frame, or an array of numbers: its columns are x0, x1 … or those of the frame fitted on."""
        if is_frame(X) and not issparse(X):  # of SciPy's matrices one is a mapping
            table = to_table(X)
            validate_data(self, table, reset=is_fit, skip_check_array=True)
            return table
        array = validate_data(self, X, reset=is_fit, ensure_all_finite="allow-nan")
        names = getattr(self, "feature_names_in_", [f"x{column}" for column in range(array.shape[1])])
        return pa.table({name: pa.array(column.astype(float)) for name, column in zip(names, array.T, strict=True)})

    def _prepare(self, raw: pa.Table, seed: int) -> tuple[FeatureSpec, Rows, Rows]:
        """Fit the encoding on all rows; return it with the encoded rows that train and that validate."""
        job = registry.find_task(self._task)
        is_array = not hasattr(self, "feature_names_in_")  # its columns are numbers, however few of them differ
        kind = detect_kind("", pa.array([0.5, 1.5]))
        kinds = dict.fromkeys(raw.column_names[:-1], kind) if is_array else {}
        kinds |= {**(self.kinds or {}), TARGET: job.TARGETS[0]}
        settings = {"target": TARGET, "kinds": kinds, "seed": seed, "test_fraction": NO_TEST}
        settings["validation_fraction"] = self.validation_fraction
        raw = raw.append_column("_origin", pa.array([f"row {row}" for row in range(len(raw))]))
        reader = TableReader.from_sample(raw, job.TARGETS, build(PreprocessConfig, settings, type(self).__name__))
        way = replace(reader.splitter, known=Assignment(reader.splitter.settings))
        examples = replace(reader, splitter=way).fit_global_state([], raw).prepare(raw)
        if examples.bad:
            first = examples.quarantine.to_pylist()[0]
            raise DataError(first["reason"], place=f"X, {first['origin']}", fix="correct the value or leave the row out")
        schema = reader.schema
        inputs, target = fit(examples.table, schema.inputs, TARGET, schema.target_kind, "", schema.options)
        spec = FeatureSpec(self._task, inputs, target, TARGET, None, {"train": len(raw)})
        rows = spec.encode(examples.table, target=True)
        assert examples.units is not None
        is_validation = way.deal(examples.units)[1] == VALIDATION
        if find_kind(target.kind).HAS_CLASSES:  # a class is learned, however few rows it has
            is_validation &= np.isin(rows["target"], rows["target"][~is_validation])
        if is_validation.all() or not is_validation.any():  # too few rows to set some apart
            return spec, rows, rows
        train, validation = ({name: rows[name][part] for name in rows} for part in (~is_validation, is_validation))
        return spec, train, validation

    def _train(
        self, name: str, spec: FeatureSpec, train: Rows, validation: Rows, seed: int, **changes: Any
    ) -> tuple[tuple[float, float], Any, dict[str, float], dict[str, Any], int]:
        """Train one architecture; return its rank (higher is better), network, validation scores, options, epochs."""
        epochs = {} if self.epochs is None else {"epochs": self.epochs}
        recipe, options = split_config_and_options(name, {**(self.options or {}), **epochs})
        recipe = recipe.replace(seed=seed, **changes)
        torch.manual_seed(seed)
        network = registry.build(name, self._task, spec.inputs, spec.target, spec.task_options, **options)
        feed = InMemoryBatches(dict(train), recipe.batch_size, seed=seed, shuffle=True)
        loop = Trainer(network, feed, validation, recipe)
        loop.run()
        network.load_state_dict(loop.best_state())
        if validation is not train:
            network.calibrate(validation)
        epoch, record = loop.best  # type: ignore[misc]  # a run that kept no epoch raises
        metric, direction = first_metric(network.task)
        rank = record[metric] if direction == "max" else -record[metric]
        return (rank, -record["validation_loss"]), network, record, options, epoch


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Learn classes from a data frame or an array, as a scikit-learn classifier.

    Args:
        architecture: A name of the catalogue; "auto" trains the linear one and those to try first with such inputs,
            each by its own recipe, and keeps the one that validates best.
        epochs: Passes over the training rows; None takes the architecture's own number.
        options: Options of the architecture and numbers of its recipe: `{"dropout": 0.1, "learning_rate": 1e-3}`.
        kinds: Column → kind, where the guess is wrong: `{"zip": "category", "day": {"kind": "moment"}}`.
        validation_fraction: Share of the rows, between 0 and 1, that choose the epoch and the architecture, and
            calibrate; what is kept then learns from these rows, too, where there are at most 3,000.
        random_state: Seed of the weights, the order of the rows and the held-out rows. The same rows and the same
            seed give the same network, whatever else the machine does.

    Attributes:
        classes_: The labels, sorted.
        architecture_: The name of the architecture that was kept.
        leaderboard_: The validation scores of each architecture that was trained.
        model_: The trained `evergreen.Model`; `model_.save(folder)` writes what `evergreen.load(folder)` reads.

    Example:
        >>> from evergreen import Classifier
        >>> X = {"age": [20.0, 30.0, 60.0, 70.0] * 10, "town": ["here", "there"] * 20}
        >>> Classifier("linear", epochs=20).fit(X, ["young", "young", "old", "old"] * 10).predict(X)[:4]
        array(['young', 'young', 'old', 'old'], dtype='<U5')
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train on a frame or an array of numbers (N, columns) and labels (N,).

        Raises:
            ValueError: shapes differ, y has one class or no classes, or a value cannot be encoded.
        """
        if y is None:
            raise ValueError("Classifier requires y to be passed, but the target y is None")
        check_classification_targets(y)
        self.classes_, codes = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        self._fit(X, codes, self.classes_.tolist())
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the likeliest label of each row: (N,)."""
        chances = self.predict_proba(X)
        return np.asarray(self.classes_[chances.argmax(axis=1)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each label: (N, K), in the order of `classes_`."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(self._to_table(X, is_fit=False))


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """Learn numbers from a data frame or an array, as a scikit-learn regressor; arguments as of `Classifier`.

    Example:
        >>> from evergreen import Regressor
        >>> Regressor("linear").fit([[float(x)] for x in range(50)], range(50)).predict([[10.0]]).round()
        array([10.])
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train on a frame or an array of numbers (N, columns) and numbers (N,).

        Raises:
            ValueError: shapes differ, y holds what is no number, or a value cannot be encoded.
        """
        if y is None:
            raise ValueError("Regressor requires y to be passed, but the target y is None")
        y = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=float, input_name="y", estimator=self)
        self._fit(X, y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the number of each row: (N,)."""
        check_is_fitted(self, "model_")
        return to_numpy(self.model_.predict(self._to_table(X, is_fit=False)).column("prediction"))


def _candidates(spec: FeatureSpec) -> list[str]:
    """Return the linear architecture and those that are usually worth the first try with such inputs."""
    kinds = {field.kind for field in spec.inputs.values()}
    names = registry.buildable(spec.inputs, spec.task)
    first = [name for name in names if registry.is_tried_first(name, kinds)]
    return (first or names)[:MAX_RACED]


@contextmanager
def _reproducible() -> Iterator[None]:
    """Use one thread, so that sums have one order on every machine, and put torch's random state back afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
