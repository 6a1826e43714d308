"""The section `preprocess` of a pipeline's YAML: what is predicted from what, and how rows are split."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evergreen.core.config import (
    DIFFERENT,
    Fraction,
    Moment,
    Name,
    NameOrNone,
    Names,
    OpenShare,
    Section,
    Seed,
    Value,
    is_before,
)
from evergreen.core.durations import parse_duration
from evergreen.core.errors import PipelineError

Rule = Annotated[str, Field(min_length=1, max_length=2000)]


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

    target: Name
    """The column to predict."""
    id_columns: Names = []
    """Columns that identify a row; by default all inputs and the target do."""
    drop_columns: Names = []
    """Columns to leave out."""
    filter: dict[Name, Annotated[list[Value], Field(min_length=1), *DIFFERENT]] = {}
    """Column: values; rows with others are left out."""
    kinds: dict[Name, str | dict[str, Value | list[Value]]] = {}
    """Column: kind, where the guess is wrong; or column: {kind: …, …} with the options of that kind."""
    column_rules: dict[Name, dict[str, Any]] = Field({}, alias="schema")
    """Column: {min, max, allowed, pattern, unique, missing, kind, type}, what must hold of its values."""
    rules: Annotated[list[Rule], *DIFFERENT] = []
    """Rules across columns, such as "end >= start"; a row that breaks one is quarantined."""
    max_invalid_fraction: Fraction = 0.2
    """Of the rows, those that may be quarantined; above it nothing is prepared."""
    test_fraction: OpenShare = 0.2
    """Of all rows, those that test."""
    validation_fraction: OpenShare = 0.2
    """Of all rows, those that validate."""
    seed: Seed = 0
    """Of the split."""
    noise_std: float = Field(0.0, ge=0, le=100)
    """Target images: adds the input `noisy`, them with Gaussian noise of this fraction of their range."""
    downscale: int = Field(1, ge=1, le=1024)
    """Target images: adds the input `small`, them with sides this many times shorter; with noise_std: `noisy`."""
    transform: Literal["", "sqrt", "log"] = ""
    """Of the target, and of the history it continues: "sqrt" steadies counts, "log" makes errors shares."""
    group: NameOrNone = ""
    """Column that says what belongs together (a patient's rows): one split takes all of them."""
    split_column: NameOrNone = ""
    """Column that says of each row: train, validation or test."""
    time: NameOrNone = ""
    """Column of times or years: split by it, the latest rows test."""
    gap: str | Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)] = 0
    """Of time, "7d" or units of numbers: rows so close before a cut are quarantined."""
    window: int = Field(12, ge=1, le=1_000_000)
    """Forecasting: rows back that a model sees."""
    horizon: int = Field(1, ge=1, le=1_000_000)
    """Forecasting: rows ahead that it predicts."""
    covariates: Names = []
    """Forecasting: columns of numbers to see beside the target."""
    series_column: NameOrNone = ""
    """Forecasting: the column that says which of several series a row belongs to."""
    sample_weight: NameOrNone = ""
    """Column of numbers: how often training sees a row, against others; it is no input."""
    memory_mb: int = Field(1024, ge=512, le=2**24)
    """MiB that preparing holds in memory at most; 512 is about what Python, torch and Arrow take by themselves."""
    validate_from: Moment | None = None
    """First time of the validation rows; by default: by the fractions."""
    test_from: Moment | None = None
    """First time of the test rows; by default: by the fractions."""
    leakage_checks: Literal["report", "stop", "off"] = "report"
    """What is done about rows and columns that flatter the scores."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.test_fraction + self.validation_fraction >= 1:
            problem = f"test_fraction {self.test_fraction:g} and validation_fraction {self.validation_fraction:g}"
            raise PipelineError(f"{problem} leave no rows to train on", fix="make their sum less than 1")
        if len(named := [name for name in ("group", "split_column", "time") if getattr(self, name)]) > 1:
            raise PipelineError(f"{' and '.join(named)} each decide which rows test", fix="keep one of them")
        for name in ("gap", "validate_from", "test_from"):
            if not self.time and getattr(self, name) not in (None, 0, ""):
                fix = f"set `time: COLUMN`, or leave {name} out"
                raise PipelineError(f"{name} needs a split by time", fix=fix)
        self._check_times()
        self._check_roles()
        if self.column_rules or self.rules:
            from evergreen.data.prepare.rules.constraints import validate_rules

            validate_rules(self.column_rules, self.rules)
        return self

    def _check_times(self) -> None:
        """Raise PipelineError for a span that is none, and for cuts in the wrong order."""
        if is_before(self.validate_from, self.test_from) is False:
            problem = f"validate_from is {self.validate_from!r}, and test_from {self.test_from!r}"
            raise PipelineError(problem, fix="let validation begin first")
        try:
            parse_duration(self.gap) if isinstance(self.gap, str) and self.gap else None
        except ValueError as error:
            raise PipelineError(
                f"{self.gap!r} is not a valid gap", fix='use a number, or "30m", "6h", "2d", "1w"'
            ) from error

    def _check_roles(self) -> None:
        """Raise PipelineError where a column is asked for and left out, or is the target and something else."""
        single = ("time", "group", "split_column", "series_column", "sample_weight")
        for name, columns in (
            *((name, [getattr(self, name)]) for name in single),
            ("drop_columns", self.drop_columns),
            ("covariates", self.covariates),
        ):
            if self.target in columns:
                raise PipelineError(f"{name} names the target {self.target[:100]!r}", fix="take another column")
        if both := sorted({*self.drop_columns} & {*self.covariates, self.time, self.series_column, self.sample_weight}):
            fix = "keep one of the two"
            raise PipelineError(f"drop_columns leaves out {both[0][:100]!r}, which is needed", fix=fix)
