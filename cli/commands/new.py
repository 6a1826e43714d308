"""`evergreen new`: a pipeline's YAML from a table, each guess with its reason beside it."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.core.errors import PipelineError

NAME = re.compile(r"[a-z][a-z0-9_]*")
MAX_SAMPLED_ROWS = 100_000  # the guess is made from the first ones
MAX_LISTED_COLUMNS = 50  # of the inputs
MAX_COMMENT_CHARACTERS = 100
MAX_NOTES = 15  # lines, of which some are long, on a screen
MAX_DOUBT_CHARACTERS = 2000  # the line that leaves columns out is among them


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new pipeline.")],
    source: Annotated[str, typer.Option("--from", metavar="FILE", help="A table, folder or address to learn from.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
) -> CommandResult:
    """Write a pipeline's YAML from a table; never over another one.

    Beside each guess, the file gives the reason for it.
    """
    from evergreen.core import parts
    from evergreen.core.paths import find_root
    from evergreen.data.prepare import suggest
    from evergreen.data.sources import open_source
    from evergreen.stages.pipeline import RESERVED, read

    root = find_root()
    parts.use(root)
    path = root / "pipelines" / f"{name}.yaml"
    if not NAME.fullmatch(name) or name in RESERVED:
        fix = "use lower-case letters, digits and _, and start with a letter: house_prices"
        raise PipelineError(f"{name!r} is not a valid pipeline name", fix=fix)
    if path.exists():
        raise PipelineError(f"pipeline {name!r} exists already", place=str(path), fix="choose another name")
    uri = relative_uri(source, root)
    opened = open_source(uri, root)
    guess = suggest.suggest_pipeline(read_head(opened), target)
    guess["notes"] = [*opened.encodings.values(), *guess["notes"]]
    encoding = next(iter(opened.encodings)) if len(opened.encodings) == 1 else ""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_yaml(uri, encoding, target, guess))
        read(name, root)
    except ValueError:  # a file that cannot be read back is not left behind
        path.unlink()
        raise
    value = {"pipeline": name, "file": str(path), **guess}
    notes = [*(f"  note: {note}" for note in guess["notes"]), *(f"  unsure: {doubt}" for doubt in guess["unsure"])]
    more = [f"  {len(notes) - MAX_NOTES} more: --json shows all"] if len(notes) > MAX_NOTES + 1 else []
    lines = [*notes[: MAX_NOTES if more else None], *more]
    return CommandResult(value, "\n".join([f"wrote {path.relative_to(root)}", *lines, f"next: evergreen run {name}"]))


def relative_uri(given: str, root: Path) -> str:
    """Name a source as a YAML does: by a path relative to the project where it lies in it, so that it moves along."""
    from evergreen.data import sources
    from evergreen.data.sources._files import check_utf8_names

    check_utf8_names([given])
    if "${" in given or (given.partition(":")[0] in sources.names() and ":" in given):
        return given
    if not Path(given).exists():
        raise PipelineError("no such file or folder", place=given, fix="check the path")
    source = Path(given).resolve()
    return str(source.relative_to(root) if source.is_relative_to(root) else source)


def read_head(source: Any) -> Any:
    """Read the first rows of an opened source as a table.

    Raises:
        DataError: it has no rows, or cannot be read.
    """
    import pyarrow as pa

    from evergreen.core.errors import DataError

    batches, rows = [], 0
    for batch in source.read():
        batches.append(batch)
        rows += len(batch)
        if rows >= MAX_SAMPLED_ROWS:
            break
    if not rows:
        raise DataError("it has no rows", place=source.uri, fix="give a file with at least a few dozen rows")
    return pa.Table.from_batches(batches)


def _yaml(uri: str, encoding: str, target: str, guess: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"# Written from {_line(uri)}; every line may be changed.",
            *(f"# unsure: {_line(doubt, MAX_DOUBT_CHARACTERS)}" for doubt in guess["unsure"]),
            f"task: {guess['task']}  # guessed: {_line(guess['because'])}",
            "collect:",  # in lines of its own: DVC drops the quotes where it changes a setting
            f"  uri: {json.dumps(uri, ensure_ascii=False)}",
            *([f"  encoding: {encoding}  # found; it counts for what is not UTF-8"] if encoding else []),
            *_preprocess(target, guess),
            "select: {}  # architectures: [linear, mlp] compares these alone",
            "tune: {}  # {effort: 1} searches the options of the chosen architecture",
            "train: {}",
            "validate: {}",
            "deploy: {}",
            "",
        ]
    )


def _preprocess(target: str, guess: dict[str, Any]) -> list[str]:
    config: dict[str, Any] = {"target": target}
    if guess["time"]:
        config |= {"time": guess["time"], "window": guess["window"], "horizon": 1}
        config |= {key: guess[key] for key in ("series_column", "covariates") if guess[key]}
        about = "window: past rows it sees; horizon: rows ahead it predicts; covariates: [more columns of numbers]"
        return [f"preprocess: {_flow(config)}  # {about}"]
    config |= guess.get("preprocess", {})
    if "kinds" in config:
        return [f"preprocess: {_flow(config)}  # guessed: the kinds, and which column orders the rows, if one does"]
    options = guess.get("options", {})
    if len(guess["kinds"]) > MAX_LISTED_COLUMNS:
        config |= {"kinds": options} if options else {}
        about = f"{len(guess['kinds'])} input columns; a column's kind is guessed, and set by kinds: {{column: kind}}"
        return [f"preprocess: {_flow(config)}  # {about}"]
    from evergreen.core import yaml_edit

    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in config.items()]
    said = {**guess["kinds"], **{name: yaml_edit.to_flow_yaml(one) for name, one in options.items()}}
    columns = [
        f"    {yaml_edit.quote_key(name)}: {kind}"
        + (f"  # {_line(holds)}" if (holds := guess["holds"].get(name)) else "")
        for name, kind in said.items()
    ]
    return ["preprocess:", *lines, "  kinds:  # guessed; to leave a column out: drop_columns: [column]", *columns]


def _line(name: str, most: int = MAX_COMMENT_CHARACTERS) -> str:
    """Shorten a text to what one line of a comment can hold."""
    words = " ".join(name.split())
    words = "".join(sign if sign.isprintable() else "?" for sign in words)
    return words if len(words) <= most else f"{words[:most]}…"


def _flow(values: dict[str, Any]) -> str:
    """Write a mapping on one line; JSON's quotes are YAML's too."""
    shown = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "{" + ", ".join(shown) + "}"
