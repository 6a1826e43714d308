"""Read a pipeline's YAML into one pydantic model per stage; a mistake in it names its file, its line and the fix.

Each section of `pipelines/NAME.yaml` is a stage's name and becomes that stage's own configuration, `stages/X/config.py`
(what the data reads of it: `data/prepare/config.py`). `CONFIGS` is the one list of stages.
"""

from __future__ import annotations

import importlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core import parts
from evergreen.core.config import MAX_SHOWN, Section, show_value
from evergreen.core.errors import PipelineError, suggest
from evergreen.core.progress import Progress, format_summary, no_progress
from evergreen.core.yaml_file import YamlFile
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.named_parts import check_name, check_parts
from evergreen.stages.operation import Operation, read_operation
from evergreen.stages.part_options import options_model
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.tune.config import TuneConfig
from evergreen.stages.validate.config import ValidateConfig

if TYPE_CHECKING:
    from evergreen.core.paths import Paths


__all__ = ["SECTIONS", "STAGES", "Pipeline", "names", "perform", "read", "tasks"]


@dataclass(frozen=True)
class Pipeline:
    """One model that somebody depends on."""

    name: str
    task: str  # a file in models/tasks/
    task_options: dict[str, Any]  # what `task: {name: …, …}` says beside the name
    operation: Operation
    collect: CollectConfig
    preprocess: PreprocessConfig
    select: SelectConfig
    tune: TuneConfig
    train: TrainConfig
    validate: ValidateConfig
    deploy: DeployConfig


CONFIGS: dict[str, type[Section]] = {
    "collect": CollectConfig,
    "preprocess": PreprocessConfig,
    "select": SelectConfig,
    "tune": TuneConfig,
    "train": TrainConfig,
    "validate": ValidateConfig,
    "deploy": DeployConfig,
}
SECTIONS = tuple(CONFIGS)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # it is part of tags, files and addresses
STAGES = (*SECTIONS[:-1], "report")  # the DVC graph, in order; deploy serves releases, so it is not part of the graph
COSTLY = ("select", "tune", "train")  # stages before which a cluster's machines are inspected
RESERVED = {"dvc", "params"}  # files that lie in pipelines/ where a person has a dvc.yaml of their own


def names(root: Path) -> list[str]:
    """Return the pipelines of this clone, in alphabetical order."""
    stems = {path.stem for path in (root / "pipelines").glob("*.yaml")}
    return sorted(stems - RESERVED)


def tasks() -> list[str]:
    """Return the names of all tasks, without importing torch: a task's file name is its registration."""
    return parts.names("tasks")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline's YAML, by which editors complete and check it."""
    task = {"enum": tasks()}
    options = {name: options_model("task", name).json_schema()["properties"] for name in tasks()}
    with_options = [
        {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"const": name}, **own},
            "additionalProperties": False,
        }
        for name, own in options.items()
    ]
    sections = {name: model.json_schema() for name, model in CONFIGS.items()}
    sections["select"]["properties"]["architectures"]["items"] = {"enum": parts.names("architectures")}
    operation = Operation.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of Evergreen",
        "type": "object",
        "properties": {"task": {"anyOf": [task, *with_options]}, **operation["properties"], **sections},
        "$defs": operation["$defs"],
        "required": ["task", *(name for name, schema in sections.items() if "required" in schema)],
        "additionalProperties": False,
    }


def read(name: str, root: Path) -> Pipeline:
    """Read `pipelines/NAME.yaml` (a path to it serves as well); raises PipelineError."""
    parts.use(root)
    name = Path(name).name.removesuffix(".yaml")
    if not NAME.fullmatch(name):
        problem = f"{name[:MAX_SHOWN]!r} is not a valid pipeline name"
        fix = "use at most 100 letters, digits, _ and -, starting with a letter or a digit"
        raise PipelineError(problem, place="pipelines", fix=fix)
    known = names(root)
    if name not in known:
        fix = suggest(name, known, "pipelines") if known else "make one with: evergreen new"
        fix = f"rename {name}.yml to {name}.yaml" if (root / "pipelines" / f"{name}.yml").is_file() else fix
        raise PipelineError(f"there is no pipeline {name!r}", fix=fix)
    if same_letters := [other for other in known if other.lower() == name.lower() and other != name]:
        fix = "rename one of the two files"
        raise PipelineError(f"the pipelines {name!r} and {same_letters[0]!r} differ in capitals alone", fix=fix)
    path = f"pipelines/{name}.yaml"
    file = YamlFile(root / path, path, "task: …, collect: {uri: …}, preprocess: {target: …}")
    file.check_keys(("task", *Operation.known_keys(), *SECTIONS), required=["task"])
    task, options = _task(file)
    sections: dict[str, Any] = {section: file.section(model, section) for section, model in CONFIGS.items()}
    check_parts(file, **sections)
    return Pipeline(name, task, options, read_operation(file), **sections)


def _task(file: YamlFile) -> tuple[str, dict[str, Any]]:
    """Return the task's name and its options."""
    options = file.values["task"]
    options = dict(options) if isinstance(options, dict) else {"name": options}
    task = options.pop("name", "")
    if not isinstance(task, str):
        raise file.error(f"task must be text or a mapping like {{name: value}}, got {show_value(task)}", "task")
    check_name(file, "tasks", task, "task")
    file.check(options_model("task", task), options, "task")
    return task, options


def perform(
    stage: str, pipeline: Pipeline, paths: Paths, progress: Progress = no_progress, **more: Any
) -> dict[str, Any]:
    """Run one stage in this process; `progress` hears one summary at its end, in the stage's own words if it has some.

    `more` are further arguments of the stage's `run`. Return what the stage returns, with that "summary".
    """
    from evergreen.stages.engines import cluster_file
    from evergreen.stages.engines.dvc_code import write_code_versions

    if stage in COSTLY:
        from evergreen.stages.engines.preflight.inspection import refuse_unfit

        refuse_unfit(pipeline, paths)
    start = time.monotonic()
    own: list[str] = []
    result: dict[str, Any]

    def hear(**facts: Any) -> None:
        own.append(facts["summary"]) if "summary" in facts else progress(**facts)

    progress(stage=stage)
    if stage in COSTLY and cluster_file.read(paths.root).jobs:
        from evergreen.stages.remote_stage import run_remotely

        result = run_remotely(stage, pipeline, paths, hear)
    else:
        given: dict[str, Any] = {"task": pipeline.task, "progress": hear, **more}
        if stage == "preprocess":  # the later ones read them in the spec that it writes
            given["task_options"] = pipeline.task_options
        run = importlib.import_module(f"evergreen.stages.{stage}.stage").run
        result = run(getattr(pipeline, stage, None), paths, **given)
    write_code_versions(pipeline, paths, after=stage)
    summary = own[-1] if own else format_summary(result)
    progress(stage=stage, summary=summary, seconds=time.monotonic() - start)
    return result | {"summary": summary}
