"""`evergreen new`: a pipeline's YAML from a table, each guess with its reason beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.core.errors import PipelineError

NAME = re.compile(r"[a-z][a-z0-9_]*")
ROWS = 100_000  # the guess is made from the first so many
LISTED = 50  # input columns that are each written down
LONGEST = 100  # characters of a comment


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new pipeline.")],
    source: Annotated[str, typer.Option("--from", metavar="FILE", help="A table, folder or address to learn from.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
) -> CommandResult:
    """Write a pipeline's YAML from a table; never over another one.

    Each guess has its reason beside it.
    """
    from evergreen.core import parts
    from evergreen.core.paths import find_root
    from evergreen.data.prepare import suggest
    from evergreen.stages.pipeline import RESERVED, read

    root = find_root()
    parts.use(root)
    path = root / "pipelines" / f"{name}.yaml"
    if not NAME.fullmatch(name) or name in RESERVED:
        fix = "write it in small letters, digits and _, starting with a letter: house_prices"
        raise PipelineError(f"{name!r} cannot be a pipeline's name", fix=fix)
    if path.exists():
        raise PipelineError(f"there is a pipeline {name!r} already", place=str(path), fix="choose another name")
    uri = relative_uri(source, root)
    guess = suggest.suggest_pipeline(read_head(uri, root), target)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_yaml(uri, target, guess))
        read(name, root)
    except ValueError:  # what was written must be readable; if not, it is as if nothing had been
        path.unlink()
        raise
    value = {"pipeline": name, "file": str(path), **guess}
    notes = [*(f"  note: {note}" for note in guess["notes"]), *(f"  unsure: {doubt}" for doubt in guess["unsure"])]
    return CommandResult(value, "\n".join([f"wrote {path.relative_to(root)}", *notes, f"next: evergreen run {name}"]))


def relative_uri(given: str, root: Path) -> str:
    """A source as a YAML names it: a path relative to the clone where it lies in it, so that it works elsewhere too."""
    from evergreen.data import sources
    from evergreen.data.sources._files import check_utf8_names

    check_utf8_names([given])
    if given.partition(":")[0] in sources.names() and ":" in given:
        return given
    if not Path(given).exists():
        raise PipelineError("there is no such file or folder", place=given, fix="check the path")
    source = Path(given).resolve()
    return str(source.relative_to(root) if source.is_relative_to(root) else source)


def read_head(uri: str, root: Path) -> Any:
    """The first rows of a source as a table."""
    import pyarrow as pa

    from evergreen.core.errors import DataError
    from evergreen.data.sources import open_source

    batches, rows = [], 0
    for batch in open_source(uri, root).read():
        batches.append(batch)
        rows += len(batch)
        if rows >= ROWS:
            break
    if not rows:
        raise DataError("there are no rows", place=uri, fix="give a file with at least a few dozen rows")
    return pa.Table.from_batches(batches)


def _yaml(uri: str, target: str, guess: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"# Written from {_line(uri)}; every line may be changed.",
            f"task: {guess['task']}  # guessed: {_line(guess['because'])}",
            f"collect: {{uri: {json.dumps(uri, ensure_ascii=False)}}}",
            *_preprocess(target, guess),
            "select: {seconds: 20}  # for the race of architectures",
            "tune: {seconds: 15, trials: 12}",
            "train: {}",
            "validate: {}",
            "deploy: {}",
            "",
        ]
    )


def _preprocess(target: str, guess: dict[str, Any]) -> list[str]:
    said: dict[str, Any] = {"target": target}
    if guess["time"]:
        said |= {"time": guess["time"], "window": 12, "horizon": 1}
        said |= {"series": guess["series"]} if guess.get("series") else {}
        about = "window: rows looked back on; horizon: rows foretold; covariates: [columns of numbers to see as well]"
        return [f"preprocess: {_flow(said)}  # {about}"]
    said |= guess.get("preprocess", {})
    if "kinds" in said:
        return [f"preprocess: {_flow(said)}  # guessed: the kinds, and which column orders the rows, if one does"]
    if len(guess["kinds"]) > LISTED:
        about = f"{len(guess['kinds'])} input columns; a column's kind is guessed, and set by kinds: {{column: kind}}"
        return [f"preprocess: {_flow(said)}  # {about}"]
    from evergreen.core import yaml_edit

    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()]
    columns = [
        f"    {yaml_edit.key(name)}: {kind}" + (f"  # {_line(holds)}" if (holds := guess["holds"][name]) else "")
        for name, kind in guess["kinds"].items()
    ]
    return ["preprocess:", *lines, "  kinds:  # guessed; a column that is not wanted: ignore: [column]", *columns]


def _line(name: str) -> str:
    """A name as a comment can hold it."""
    words = " ".join(name.split())
    words = "".join(sign if sign.isprintable() else "?" for sign in words)
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"


def _flow(values: dict[str, Any]) -> str:
    """A mapping on one line; JSON's quotes hold for YAML too."""
    shown = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "{" + ", ".join(shown) + "}"
