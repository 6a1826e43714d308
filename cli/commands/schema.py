"""`evergreen schema`: the rules that the rows of each column suggest, and the JSON Schema of a pipeline's YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.cli.commands.new import read_head
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import AnyPipelineName, open_pipeline

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.core.paths import Paths
    from evergreen.data.quality.profile import ColumnProfile
    from evergreen.stages.pipeline import Pipeline


def schema(
    name: AnyPipelineName = "",
    write: Annotated[
        bool, typer.Option("--write", help="Add it to the pipeline's YAML, whose other lines stay.")
    ] = False,
) -> CommandResult:
    """Propose a schema of each column: kind, range, values.

    It is read from the prepared rows, or else from the first rows of the source, and printed as YAML for the section
    `preprocess`. A column that the pipeline's YAML describes already stays as described. Without NAME it prints the
    JSON Schema of a pipeline's YAML, by which an editor completes and checks one.
    """
    if not name:
        from evergreen.stages import pipeline as pipelines

        json_schema = pipelines.json_schema()
        return CommandResult(json_schema, json.dumps(json_schema, indent=2, ensure_ascii=False))
    return _schema_of_columns(name, write)


def _schema_of_columns(name: str, write: bool) -> CommandResult:
    from evergreen.core import yaml_edit
    from evergreen.stages.pipeline import read

    pipeline, paths = open_pipeline(name)
    existing = pipeline.preprocess.column_rules
    suggested, source, changes = propose_schema(pipeline, paths)
    new = {name: rules for name, rules in suggested.items() if name not in existing}
    value: dict[str, Any] = {"pipeline": name, "written": existing, "proposed": new, "from": source, "changes": changes}
    if write:
        if new:
            yaml_edit.add_schema_section(paths.pipeline, new)
            read(name, paths.root)
        what = f"wrote {_columns(new)} into" if new else "every column is described in"
        fix = f"a row that breaks a line is quarantined; look with: evergreen quarantine {name}"
        return CommandResult(
            value | {"wrote": sorted(new)}, f"{what} {paths.pipeline.relative_to(paths.root)}\n  {fix}"
        )
    lines = [
        f"    {yaml_edit.quote_key(name)}: {yaml_edit.to_flow_yaml(rules)}"
        for name, rules in {**existing, **new}.items()
    ]
    origins = [f"{_columns(existing)} from the file"] if existing else []
    origins += [f"{_columns(new)} from {source}"] if new else []
    head_lines = [f"# {', '.join(origins)}", "preprocess:", "  schema:"]
    hint = [f"to write what is new into the file: evergreen schema {name} --write"] if new else []
    changed = [f"changed since the last version: {change}" for change in changes]
    return CommandResult(value, "\n".join([*head_lines, *lines, *changed, *hint]))


def propose_schema(pipeline: Pipeline, paths: Paths) -> tuple[dict[str, dict[str, Any]], str, list[str]]:
    """Suggest rules for each column from the prepared rows, else from a sample of raw ones.

    Returns:
        The rules by column, what they were read from, and what changed since the version before.
    """
    from evergreen.core.files import read_json
    from evergreen.data.prepare.column_rules import suggest_rules
    from evergreen.data.prepared import SCHEMA
    from evergreen.data.quality import profile
    from evergreen.stages.collect.stage import open_collected
    from evergreen.stages.preprocess import raw_sample
    from evergreen.stages.preprocess.changes import load_history

    collected = any(paths.raw.glob("part-*.parquet"))
    table = (
        raw_sample.sample_raw(raw_sample.raw_row_groups(paths.raw), lambda rows: rows)
        if collected
        else read_head(open_collected(pipeline.collect, paths.root))
    )
    path = paths.ready / SCHEMA
    facts: dict[str, Any] = {}
    if collected and path.is_file():
        facts = read_json(path)
        columns = {name: profile.ColumnProfile(**one) for name, one in facts["columns"].items()}
        source = f"{facts['rows']:,} prepared rows"
    else:
        columns, source = _unprepared(pipeline, table), f"{len(table):,} rows of {pipeline.collect.uri}"
    present = {name: column for name, column in columns.items() if name in table.column_names}
    return suggest_rules(present, _unique(table)), source, load_history(paths)["changes"]


def _unique(table: pa.Table) -> list[str]:
    """List the columns that identify rows."""
    from evergreen.data.arrow import decode_array
    from evergreen.data.prepare.infer import is_identifier

    return [name for name in table.column_names if is_identifier(name, decode_array(table.column(name)).drop_null())]


def _unprepared(pipeline: Pipeline, table: pa.Table) -> dict[str, ColumnProfile]:
    """Profile the columns of the valid ones among these raw rows."""
    from evergreen.data.prepare import infer
    from evergreen.data.prepare.check import separate_invalid_rows
    from evergreen.data.prepare.column_rules import merge_kinds
    from evergreen.data.prepare.filter import filter_rows
    from evergreen.data.quality import profile
    from evergreen.models.registry import find_task

    config = pipeline.preprocess
    given = merge_kinds(config.column_rules, config.kinds)
    table = filter_rows(table, config.filter)
    kind = infer.target_kind(table, config.target, find_task(pipeline.task).TARGETS, given)
    ignore = [*config.drop_columns, *([config.time] if config.time else [])]
    schema = infer.infer_schema(
        table, config.target, kind, given=given, ignore=ignore, key=config.id_columns, from_itself=True
    )
    valid, _ = separate_invalid_rows(table, schema)
    return profile.profile_columns(valid, schema.kinds)


def _columns(rules: dict[str, Any]) -> str:
    return f"{len(rules)} column{'s' * (len(rules) != 1)}"
