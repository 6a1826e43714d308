"""Brings the rows of a source here, as they are, with the origin of each; of what was brought before, only the rest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.core.gc_tuning import seldom
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from evergreen.data.sources import Source
    from evergreen.stages.collect.manifest import Part

RECORD = "source.json"


@dataclass(frozen=True)
class Params:
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


@seldom()
def run(
    params: Params, paths: Paths, *, task: str = "", progress: Progress = no_progress, faulty: bool = False
) -> dict[str, Any]:
    """Writes raw/part-00000.parquet …, what files their rows are of, and source.json, in the place of what was there.
    With `faulty` rows that could not be read are read again, whether their files changed or not.

    Raises DataError with the place and the fix where the source is missing, empty or damaged.
    """
    from evergreen.core.errors import DataError
    from evergreen.core.files import replace_folder, write_json
    from evergreen.core.workdir import exclusive_workdir, explain_disk_full
    from evergreen.data.sources import open_source
    from evergreen.stages.collect.manifest import place

    source = open_source(params.uri, paths.root)
    with (
        explain_disk_full(paths.raw, "what was collected before"),
        exclusive_workdir(paths, "collect", "collected") as staged,
    ):
        fingerprint = source.fingerprint()  # before it is read: what changes meanwhile is a change
        before, record = known(params, paths)
        parts, covered, counts = _brought(params, source, before, record, staged, progress, faulty=faulty)
        rows = sum(part.rows for part in parts)
        if not rows:
            raise DataError("there are no rows", place=params.uri, fix="give a source with at least a few dozen rows")
        with replace_folder(paths.raw) as folder:
            place(parts, folder)
            facts = {"uri": params.uri, "fingerprint": fingerprint, "rows": rows, "reader": source.reader()}
            if params.watermark:
                facts |= {"watermark": params.watermark, "covered": covered}
            write_json(folder / RECORD, facts)
        shutil.rmtree(staged)
    return {"rows": rows, "uri": params.uri} | {name: count for name, count in counts.items() if count}


def changed(params: Params, paths: Paths) -> bool:
    """Whether the source, which DVC does not watch, holds other data than was collected, or nothing was."""
    from evergreen.core.files import read_json
    from evergreen.data.sources import open_source

    record = paths.raw / RECORD
    if not record.is_file():
        return True
    last = read_json(record)
    return (last["uri"], last["fingerprint"]) != (params.uri, open_source(params.uri, paths.root).fingerprint())


def known(params: Params, paths: Paths) -> tuple[list[Part], dict[str, Any]]:
    """What was collected from this source before, and its record; nothing after another address or column."""
    from evergreen.core.files import read_json
    from evergreen.stages.collect.manifest import held

    path = paths.raw / RECORD
    record = read_json(path) if path.is_file() else {}
    if (record.get("uri"), record.get("watermark", "")) != (params.uri, params.watermark):
        return [], {}
    return held(paths.raw), record


def _brought(
    params: Params,
    source: Source,
    before: list[Part],
    record: dict[str, Any],
    staging: Path,
    progress: Progress,
    *,
    faulty: bool,
) -> tuple[list[Part], dict[str, Any], dict[str, int]]:
    from evergreen.stages.collect import deduplicate
    from evergreen.stages.collect import watermark as moments
    from evergreen.stages.collect.incremental import advanced, readable
    from evergreen.stages.collect.snapshot import distrusted, mirrored

    again = staging / "again"
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    rows = 0

    def said(more: int) -> None:
        nonlocal rows
        rows += more
        progress(stage="collect", rows=rows)

    covered: dict[str, Any] = {}
    if params.watermark:
        wanted, late = (params.since, params.until), moments.span(params.late)
        last = record.get("covered", {})
        whole, bad = readable(before, again) if faulty else (before, set())
        parts, covered, counts = advanced(source, params.watermark, wanted, late, last, whole, again, said, anew=bad)
    else:
        # rows that gave way to others of their key may have to come back, and a mended reader may find more
        anew = bool(params.key) or record.get("reader") != source.reader()
        keep = params.deleted == "keep"
        trusted = [distrusted(part) for part in before] if faulty else before
        parts, files = mirrored(source, trusted, staging, again, anew=anew, keep=keep, said=said)
        counts = {f"files {name}": count for name, count in files.items()}
    if params.key:
        followed = params.watermark and params.deleted == "follow"
        alive = deduplicate.keys_of(source.read(), params.key) if followed else None
        parts, gone = deduplicate.settled(parts, params.key, params.watermark, alive, again)
        counts |= gone
    return parts, covered, counts


if __name__ == "__main__":
    from evergreen.stages.pipeline import main

    main("collect")
