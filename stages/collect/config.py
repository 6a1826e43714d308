"""The section `collect` of a pipeline's YAML: where the rows come from, and which of them are new."""

from encodings.aliases import aliases
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from evergreen.core.addresses import check_no_secret
from evergreen.core.config import Moment, NameOrNone, Names, Section
from evergreen.core.errors import PipelineError, suggest


class CollectConfig(Section):
    """Say where the rows come from, and which of them are new.

    Without a watermark the rows are those that the source holds now: new and changed files are read, and rows of files
    that no longer exist are removed. With one, rows are only added: those that lie beyond the last watermark.
    """

    RENAMED: ClassVar = {"key": "id_columns", "late": "allowed_lateness", "deleted": "on_source_delete"}

    uri: str = Field(
        min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["people.csv", "sklearn:digits"]
    )
    """A path from the project's root, or scheme:…; its ending, its contents or its scheme say how it is read.

    `${NAME}` is filled in from the environment when it is read: no secret may stand here.
    """
    encoding: str = Field("", max_length=100)
    """How text files are written that are not UTF-8, such as cp1251; by default it is found out, and told."""
    private_redirects: bool = False
    """Whether a web server may redirect to an address of this machine or of the network around it."""
    watermark: NameOrNone = ""
    """Column of times or numbers that grow with every new row."""
    allowed_lateness: str | Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)] = 0
    """How far behind the last row others may still arrive: "6h", "2d", or units of a watermark of numbers."""
    since: Moment | None = None
    """The first watermark to read; an earlier one than before reads what lies between."""
    until: Moment | None = None
    """The first watermark not to read."""
    id_columns: Names = []
    """Columns that identify a row: of several rows with the same values the newest stays."""
    on_source_delete: Literal["follow", "keep"] | None = None
    """What happens to rows that the source no longer has; by default: keep with a watermark, follow without one."""

    @field_validator("uri")
    @classmethod
    def _check_no_secret(cls, uri: str) -> str:
        if ":" in uri:  # a path may look like anything
            check_no_secret(uri)
        return uri

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str) -> str:
        try:
            "a".encode(encoding or "utf-8")
        except (LookupError, ValueError) as error:
            fix = suggest(encoding, sorted({*aliases, *aliases.values()}))
            raise PipelineError(f"{encoding!r} is not a text encoding", fix=fix) from error
        return encoding

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.on_source_delete == "follow" and self.watermark and not self.id_columns:
            fix = "name the columns that identify a row: `id_columns: [COLUMN]`"
            raise PipelineError("on_source_delete: follow needs id_columns", fix=fix)
        if not self.watermark and (self.allowed_lateness or self.since is not None or self.until is not None):
            name = "allowed_lateness" if self.allowed_lateness else "since" if self.since is not None else "until"
            raise PipelineError(f"{name} needs watermark", fix="name the column that says when a row arrived")
        if not self.watermark:
            return self
        from evergreen.stages.collect import watermark as moments

        try:
            moments.parse_lateness(self.allowed_lateness)
        except ValueError as error:
            problem = f"{self.allowed_lateness!r} is not a valid allowed_lateness"
            raise PipelineError(problem, fix='use a number, or "30m", "6h", "2d", "1w"') from error
        positions = []
        for name in ("since", "until"):
            if (mark := getattr(self, name)) is None:
                continue
            try:
                positions.append(moments.to_position(mark))
            except (ValueError, OverflowError) as error:
                fix = "use a number or a time: 2026-01-31"
                raise PipelineError(f"{mark!r} is not a valid value of {name}", fix=fix) from error
        if len(positions) == 2 and not positions[0] < positions[1]:
            raise PipelineError(f"since is {self.since!r}, not before until", fix="give the earlier one as since")
        return self
