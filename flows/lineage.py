"""Follow an answer back to what it was learned from, and a row forward to the versions that learned from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, VersionError
from evergreen.core.paths import Paths
from evergreen.data.origin_match import count_origin
from evergreen.flows.version_diff import describe_version
from evergreen.stages.engines import registration
from evergreen.stages.engines.candidates import read_records, recorded_outs
from evergreen.stages.engines.dvc_cache import cached_files
from evergreen.stages.engines.git_tags import Version
from evergreen.stages.request_files import COLUMNS, read_requests

OUTS = ("raw", "ready", "candidate")  # what a version was made of: collected rows, prepared rows, weights


def trace_answer(root: Path, request: str) -> dict[str, Any]:
    """Return {"pipeline", "answers", "versions"}: the logged rows of a request, and how what answered was made.

    `request` is the id of a request or the caller's own. Raises DataError where the log holds none.
    """
    for folder in sorted(root.glob(".evergreen/requests/*/")):
        if answers := [row for table in read_requests(folder) for row in _matching(table, request)]:
            paths = Paths(root, folder.name)
            versions = sorted({row["version"] for row in answers})
            return {"pipeline": paths.name, "answers": answers, "versions": [how_made(paths, one) for one in versions]}
    fix = "X-Request-ID of the answer is its id; the log keeps what `log:` of the pipeline says"
    raise DataError(f"no request {request!r} is in the log", fix=fix)


def how_made(paths: Paths, name: str) -> dict[str, Any]:
    """Return who released a version and why, and its rows, settings, seed, trial, code, scores and hashes."""
    version, notes = registration.read_tags(paths).find(name), list[str]()
    if version is None:
        return {"version": name, "notes": [f"{paths.name} has no tag of {name}"]}
    facts = describe_version(paths, version, notes) | {"hashes": _hashes(paths, version)}
    return {"version": name, "date": version.date, "message": version.message, **facts, "notes": notes}


def trace_row(paths: Paths, origin: str) -> list[dict[str, Any]]:
    """Return the versions that held a row, or a whole file, oldest first: {"version", "splits", "note"}.

    `origin` is "people.csv#17" or "people.csv"; `splits` counts its rows by split: "train" was learned from.
    """
    found, known = [], dict[str, tuple[Mapping[str, int], str]]()
    for version in registration.read_tags(paths).versions:
        oid = _hashes(paths, version).get("ready", "")
        if oid not in known:
            try:
                known[oid] = (_count(paths.root, oid, origin), "") if oid else ({}, "its commit records no rows")
            except VersionError as error:
                known[oid] = ({}, str(error))
        splits, note = known[oid]
        if splits or note:
            found.append({"version": version.version, "splits": splits, "note": note})
    return found


def _matching(table: pa.Table, request: str) -> Iterator[dict[str, Any]]:
    mask = pc.or_kleene(pc.equal(table["request_id"], request), pc.equal(table["id"], request))
    for row in table.filter(mask).select([*COLUMNS, "answered"]).to_pylist():
        yield row | {"time": row["time"].isoformat()}


def _hashes(paths: Paths, version: Version) -> dict[str, str]:
    """Return the hash of each of OUTS that the version's commit records."""
    outs = recorded_outs(read_records(paths.root, version.commit, paths.name))
    return {name: outs[name].get("md5", "") for name in OUTS if name in outs}


def _count(root: Path, oid: str, origin: str) -> dict[str, int]:
    """Count the prepared rows of an origin by split."""
    counts: dict[str, int] = {}
    for path, file in cached_files(root, oid):
        split, _, name = path.partition("/")
        if name.endswith(".parquet") and (n_rows := count_origin(file, origin)):
            counts[split] = counts.get(split, 0) + n_rows
    return counts
