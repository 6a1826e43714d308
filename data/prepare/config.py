"""The section `preprocess` of a pipeline's YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from evergreen.core.errors import PipelineError

LEAST_MB = 512  # most of it is what Python, torch and Arrow take by themselves


@dataclass(frozen=True)
class PreprocessConfig:
    """What is predicted from what, and how rows are split."""

    target: str  # the column to predict
    key: list[str] = field(
        default_factory=list
    )  # columns that say which row is which; else all inputs and the target do
    ignore: list[str] = field(default_factory=list)  # columns to leave out
    only: dict[str, list[Any]] = field(default_factory=dict)  # column: values; rows with others are left out
    # column: kind, where the guess is wrong; or column: {kind: …, …} with the options of that kind
    kinds: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    # column: {min, max, allowed, pattern, unique, missing, kind, type}: what holds of it; see rules/constraints.py
    schema: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)  # across columns, "end >= start"; a row that breaks one is set aside
    bad_rows: float = 0.2  # largest share of rows that may be set aside; above it nothing is prepared
    test_share: float = 0.2  # of all rows
    validation_share: float = 0.2  # of all rows
    seed: int = 0  # another seed is another split
    noise: float = 0.0  # target images: adds the input `noisy`, them with Gaussian noise of this share of their range
    shrink: int = 1  # target images: adds the input `small`, them with sides this many times shorter; both: `noisy`
    transform: str = ""  # of the target, and of the history it continues: "sqrt" steadies counts
    group: str = ""  # column that says what belongs together (a patient's rows): one split takes all of them
    given: str = ""  # column that says of each row: train, validation or test
    time: str = ""  # column of times or years: split by it, the latest rows test
    gap: str | int | float = 0  # of time, "7d" or units of numbers: rows so close before a cut are set aside
    window: int = 12  # forecasting: how many rows back a model sees
    horizon: int = 1  # forecasting: how many rows ahead it says
    covariates: list[str] = field(default_factory=list)  # forecasting: columns of numbers to see beside the target
    series: str = ""  # forecasting: the column that says which of several series a row belongs to
    weight: str = ""  # column of numbers: how often training sees a row, against others; it is no input
    memory_mb: int = 1024  # ceiling of what preparing holds in memory, in MiB
    validate_from: str | int | float | None = None  # first time of the validation rows; none: by the shares
    test_from: str | int | float | None = None  # first time of the test rows; none: by the shares
    leaks: Literal["report", "stop", "off"] = "report"  # what is done about rows and columns that flatter the scores

    def __post_init__(self) -> None:
        if self.schema or self.rules:
            from evergreen.data.prepare.rules.constraints import validate_rules

            validate_rules(self.schema, self.rules)
        if self.memory_mb < LEAST_MB:
            raise PipelineError(f"memory_mb is {self.memory_mb}", fix=f"write {LEAST_MB} or more, in MiB")
        if not 0 <= self.bad_rows <= 1:
            raise PipelineError(f"bad_rows is {self.bad_rows}", fix="write a share of the rows, 0 to 1")
