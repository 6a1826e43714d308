"""The section `preprocess` of a pipeline's YAML: what is predicted from what, and how rows are split."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from evergreen.core.config import Section, Seed
from evergreen.core.errors import PipelineError

Time = str | int | float | None


class PreprocessConfig(Section):
    """Say what is predicted from what, and how rows are split."""

    RENAMED: ClassVar = {
        "key": "id_columns",
        "ignore": "drop_columns",
        "only": "filter",
        "bad_rows": "max_invalid_fraction",
        "test_share": "test_fraction",
        "validation_share": "validation_fraction",
        "noise": "noise_std",
        "shrink": "downscale",
        "given": "split_column",
        "series": "series_column",
        "weight": "sample_weight",
        "leaks": "leakage_checks",
    }

    target: str = Field(min_length=1)
    """The column to predict."""
    id_columns: list[str] = []
    """Columns that identify a row; by default all inputs and the target do."""
    drop_columns: list[str] = []
    """Columns to leave out."""
    filter: dict[str, list[Any]] = {}
    """Column: values; rows with others are left out."""
    kinds: dict[str, str | dict[str, Any]] = {}
    """Column: kind, where the guess is wrong; or column: {kind: …, …} with the options of that kind."""
    column_rules: dict[str, dict[str, Any]] = Field({}, alias="schema")
    """Column: {min, max, allowed, pattern, unique, missing, kind, type}, what must hold of its values."""
    rules: list[str] = []
    """Rules across columns, such as "end >= start"; a row that breaks one is quarantined."""
    max_invalid_fraction: float = Field(0.2, ge=0, le=1)
    """Of the rows, those that may be quarantined; above it nothing is prepared."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Of all rows, those that test."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Of all rows, those that validate."""
    seed: Seed = 0
    """Of the split."""
    noise_std: float = Field(0.0, ge=0)
    """Target images: adds the input `noisy`, them with Gaussian noise of this fraction of their range."""
    downscale: int = Field(1, ge=1, le=1024)
    """Target images: adds the input `small`, them with sides this many times shorter; with noise_std: `noisy`."""
    transform: str = ""
    """Of the target, and of the history it continues: "sqrt" steadies counts."""
    group: str = ""
    """Column that says what belongs together (a patient's rows): one split takes all of them."""
    split_column: str = ""
    """Column that says of each row: train, validation or test."""
    time: str = ""
    """Column of times or years: split by it, the latest rows test."""
    gap: str | int | float = 0
    """Of time, "7d" or units of numbers: rows so close before a cut are quarantined."""
    window: int = Field(12, ge=1, le=1_000_000)
    """Forecasting: rows back that a model sees."""
    horizon: int = Field(1, ge=1, le=1_000_000)
    """Forecasting: rows ahead that it predicts."""
    covariates: list[str] = []
    """Forecasting: columns of numbers to see beside the target."""
    series_column: str = ""
    """Forecasting: the column that says which of several series a row belongs to."""
    sample_weight: str = ""
    """Column of numbers: how often training sees a row, against others; it is no input."""
    memory_mb: int = Field(1024, ge=512)
    """MiB that preparing holds in memory at most; 512 is about what Python, torch and Arrow take by themselves."""
    validate_from: Time = None
    """First time of the validation rows; by default: by the fractions."""
    test_from: Time = None
    """First time of the test rows; by default: by the fractions."""
    leakage_checks: Literal["report", "stop", "off"] = "report"
    """What is done about rows and columns that flatter the scores."""

    @model_validator(mode="after")
    def _check(self) -> PreprocessConfig:
        if self.test_fraction + self.validation_fraction >= 1:
            problem = f"test_fraction {self.test_fraction:g} and validation_fraction {self.validation_fraction:g}"
            raise PipelineError(f"{problem} leave no rows to train on", fix="make their sum less than 1")
        if len(named := [name for name in ("group", "split_column", "time") if getattr(self, name)]) > 1:
            raise PipelineError(f"{' and '.join(named)} each say which rows test", fix="keep one of them")
        for name in ("gap", "validate_from", "test_from"):
            if not self.time and getattr(self, name) not in (None, 0, ""):
                fix = f"say `time: COLUMN`, or leave {name} out"
                raise PipelineError(f"{name} is of a split by time", fix=fix)
        if self.column_rules or self.rules:
            from evergreen.data.prepare.rules.constraints import validate_rules

            validate_rules(self.column_rules, self.rules)
        return self
