"""`evergreen trace`: from an answer to its data, from a row to the versions that learned from it."""

from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.core.errors import PipelineError


def trace(
    what: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="Of an answer; or your own _id.")] = "",
    row: Annotated[str, typer.Option("--row", metavar="ORIGIN", help='A row or file, like "people.csv#17".')] = "",
) -> CommandResult:
    """Follow an answer to its data, or a row to versions with it."""
    from evergreen.core.paths import Paths, find_root
    from evergreen.flows import lineage
    from evergreen.stages.engines import versions
    from evergreen.stages.pipeline import names

    if bool(what) == bool(row):
        raise PipelineError(
            "name an answer or a row", fix="evergreen trace REQUEST_ID, or evergreen trace --row FILE#17"
        )
    root = find_root()
    versions.prepare(root)
    if what:
        value = lineage.trace_answer(root, what)
        return CommandResult(value, "\n".join([*map(_show_answer, value["answers"]), *map(_show, value["versions"])]))
    known = sorted({*names(root), *versions.released(root)})
    found = {name: lineage.trace_row(Paths(root, name), row) for name in known}
    lines = [f"{name} {_show_splits(one)}" for name, versions in found.items() for one in versions]
    return CommandResult({"row": row, "versions": found}, "\n".join(lines) or f"no version learned from {row}")


def _show_splits(one: dict[str, Any]) -> str:
    held = ", ".join(f"{count:,} in {split}" for split, count in one["splits"].items())
    return f"{one['version']}: {held or one['note']}"


def _show_answer(row: dict[str, Any]) -> str:
    return f"{row['time'][:19]}  row {row['row']} of {row['request_id']}, {row['version']}: {row['answered']}"


def _show(version: dict[str, Any]) -> str:
    """Tell how a version was made, a line a section."""
    why, _, _ = version.get("message", "").partition("\n")
    lines = [f"{version['version']}  {version.get('date', '')[:19]}  {why}".rstrip()]
    for section in ("network", "data", "hashes", "scores", "code", "settings"):
        if facts := version.get(section):
            lines.append(f"  {section:<9} " + ", ".join(f"{key}: {value}" for key, value in facts.items()))
    return "\n".join(lines + [f"  {note}" for note in version["notes"]])
