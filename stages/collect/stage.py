"""Collect the rows of a source as they are, with the origin of each; next time only what is new."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.gc_tuning import infrequent_gc
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.collect.config import CollectConfig

if TYPE_CHECKING:
    from evergreen.data.sources import Source
    from evergreen.stages.collect.manifest import Part

RECORD = "source.json"

VERSION = 1  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


@infrequent_gc()
def run(
    config: CollectConfig, paths: Paths, *, task: str = "", progress: Progress = no_progress, faulty: bool = False
) -> dict[str, Any]:
    """Write raw/part-00000.parquet …, their manifests and source.json, in place of what was there.

    With `faulty`, rows that could not be read are read again, whether their files changed or not.

    Raises DataError with the place and the fix where the source is missing, empty or damaged.
    """
    from evergreen.core.errors import DataError
    from evergreen.core.files import atomic_directory, write_json
    from evergreen.core.workdir import exclusive_workdir, explain_disk_full
    from evergreen.stages.collect.forgotten import hash_forgotten, leave_out, read_forgotten
    from evergreen.stages.collect.manifest import publish_parts

    source = open_collected(config, paths.root)
    with (
        explain_disk_full(paths.raw, "what was collected before"),
        exclusive_workdir(paths, "collect", "collected") as staged,
    ):
        fingerprint = source.fingerprint()  # before it is read: what changes meanwhile is a change
        before, record = load_collected(config, paths)
        parts, covered, counts = _brought(config, source, before, record, staged, progress, faulty=faulty)
        parts, counts["forgotten"] = leave_out(parts, read_forgotten(paths), staged / "again")
        rows = sum(part.rows for part in parts)
        if not rows:
            raise DataError("there are no rows", place=config.uri, fix="give a source with at least a few dozen rows")
        with atomic_directory(paths.raw) as folder:
            publish_parts(parts, folder)
            facts = {"uri": config.uri, "fingerprint": fingerprint, "rows": rows, "reader": source.reader_version()}
            if config.watermark:
                facts |= {"watermark": config.watermark, "covered": covered}
            if forgotten := hash_forgotten(paths):
                facts["forgotten"] = forgotten
            write_json(folder / RECORD, facts)
        shutil.rmtree(staged)
    facts = {"rows": rows, "uri": config.uri} | {name: count for name, count in counts.items() if count}
    return facts | ({"beware": " | ".join(source.encodings.values())} if source.encodings else {})


def open_collected(config: CollectConfig, root: Path) -> Source:
    """Open the source of a pipeline as it says. Raises DataError where there is none."""
    from evergreen.data.sources import open_source

    return open_source(config.uri, root, private_redirects=config.private_redirects, encoding=config.encoding)


def has_changed(config: CollectConfig, paths: Paths) -> bool:
    """Tell whether the source, which DVC does not watch, holds other data than was collected, or nothing was.

    So it is where other rows are to be forgotten.
    """
    from evergreen.core.files import read_json
    from evergreen.stages.collect.forgotten import hash_forgotten

    record = paths.raw / RECORD
    if not record.is_file():
        return True
    last = read_json(record, "uri", "fingerprint")
    source, forgotten = open_collected(config, paths.root), last.get("forgotten", "")
    known = (last["uri"], last["fingerprint"], forgotten)
    return known != (config.uri, source.fingerprint(), hash_forgotten(paths))


def load_collected(config: CollectConfig, paths: Paths) -> tuple[list[Part], dict[str, Any]]:
    """Return the parts collected from this source before, and their record; none after another URI or watermark."""
    from evergreen.core.files import read_json
    from evergreen.stages.collect.manifest import load_parts

    path = paths.raw / RECORD
    record = read_json(path) if path.is_file() else {}
    if (record.get("uri"), record.get("watermark", "")) != (config.uri, config.watermark):
        return [], {}
    return load_parts(paths.raw), record


def _brought(
    config: CollectConfig,
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
    from evergreen.stages.collect.incremental import drop_unreadable_rows, read_new_rows
    from evergreen.stages.collect.snapshot import sync_snapshot, without_fingerprints

    again = staging / "again"
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    rows = 0

    def report_rows(n_rows: int) -> None:
        nonlocal rows
        rows += n_rows
        progress(stage="collect", rows=rows)

    covered: dict[str, Any] = {}
    if config.watermark:
        wanted, late = (config.since, config.until), moments.parse_lateness(config.allowed_lateness)
        last = record.get("covered", {})
        readable, bad = drop_unreadable_rows(before, again) if faulty else (before, set())
        parts, covered, counts = read_new_rows(
            source, config.watermark, wanted, late, last, readable, again, report_rows, anew=bad
        )
    else:
        # rows that gave way to others of their key may have to come back, and a mended reader may find more
        anew = bool(config.id_columns) or record.get("reader") != source.reader_version()
        keep = config.on_source_delete == "keep"
        trusted = [without_fingerprints(part) for part in before] if faulty else before
        parts, files = sync_snapshot(source, trusted, staging, again, anew=anew, keep=keep, report_rows=report_rows)
        counts = {f"files {name}": count for name, count in files.items()}
    if config.id_columns:
        followed = config.watermark and config.on_source_delete == "follow"
        alive = deduplicate.read_keys(source.read(), config.id_columns) if followed else None
        parts, gone = deduplicate.keep_latest(parts, config.id_columns, config.watermark, alive, again)
        counts |= gone
    return parts, covered, counts
