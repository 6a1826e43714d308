"""The section `collect` of a pipeline's YAML."""

from __future__ import annotations

from dataclasses import dataclass, field

from evergreen.core.errors import PipelineError


@dataclass(frozen=True)
class CollectConfig:
    """Where the rows come from, and which of them are new.

    Without a watermark the rows are those that the source holds now: files that are new or changed are read, rows of
    files that are gone go. With one, rows only ever come: what lies beyond the last one is added.
    """

    uri: str  # a path from the root, or scheme:…; the ending, what a folder holds, or the scheme says how it is read
    watermark: str = ""  # column of times or numbers that grow with every new row
    late: str | int | float = 0  # how far behind the last row others may still come: "6h", "2d", or units of a number
    since: str | int | float | None = (
        None  # the first watermark wanted; an earlier one than before fills what is between
    )
    until: str | int | float | None = None  # the first watermark not wanted
    key: list[str] = field(default_factory=list)  # columns that say which row is which: of several the newest stays
    deleted: str = ""  # follow or keep what the source no longer has; else: keep with a watermark, follow without

    def __post_init__(self) -> None:
        from evergreen.stages.collect import watermark as moments

        if self.deleted not in ("", "follow", "keep"):
            raise PipelineError(f"deleted is '{self.deleted}'", fix="write follow or keep")
        if self.deleted == "follow" and self.watermark and not self.key:
            raise PipelineError("deleted: follow needs key", fix="say by `key` which row is which")
        if not self.watermark and (self.late or self.since is not None or self.until is not None):
            named = "late" if self.late else "since" if self.since is not None else "until"
            raise PipelineError(f"{named} needs watermark", fix="name the column that says when a row came")
        try:
            moments.span(self.late)
        except ValueError as error:
            raise PipelineError(str(error), fix='write a number, or "30m", "6h", "2d", "1w"') from error
        for name in ("since", "until"):
            mark = getattr(self, name)
            try:
                moments.number(mark) if mark is not None else None
            except ValueError as error:
                raise PipelineError(f"{name} is {mark!r}", fix="write a number or a time: 2026-01-31") from error
