"""Check the parts that a pipeline's YAML names, and their options: sources, kinds, tasks, architectures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from evergreen.core import parts
from evergreen.core.config import MAX_SHOWN
from evergreen.core.errors import PipelineError, suggest
from evergreen.stages.part_options import options_model

if TYPE_CHECKING:
    from evergreen.core.yaml_file import YamlFile

WORDS = {"tasks": "task", "kinds": "kind of data", "architectures": "architecture", "sources": "source"}


def check_parts(
    file: YamlFile, *, collect: Any, preprocess: Any, select: Any, tune: Any, train: Any, validate: Any, **_: Any
) -> None:
    """Raise PipelineError at the line of a part that does not exist, and of an option that it does not have."""
    scheme, colon, _ = collect.uri.partition(":")
    if colon and len(scheme) > 1 and "$" not in scheme:  # a single letter is a Windows drive
        check_name(file, "sources", scheme, "collect", "uri")
    for column, declared in {**preprocess.column_rules, **preprocess.kinds}.items():
        where = ("preprocess", "kinds" if column in preprocess.kinds else "schema", column)
        _check_kind(file, declared if isinstance(declared, dict) else {"kind": declared}, *where)
    for position, architecture in enumerate(select.architectures):
        check_name(file, "architectures", architecture, "select", "architectures", position)
    architectures = select.architectures or parts.names("architectures")
    _check_options(file, train.options, architectures)
    _check_space(file, tune.space, architectures)
    if validate.slices and not preprocess.time:
        raise file.error("validate.slices needs times", "validate", "slices", fix="say preprocess: {time: COLUMN}")


def check_name(file: YamlFile, group: str, name: str, *keys: str | int) -> None:
    """Raise PipelineError at the line of a part's name that is none, with the nearest right one."""
    known = [*parts.names(group), *parts.ALIASES.get(group, ())]
    if name not in known:
        problem = f"{'.'.join(map(str, keys[:2]))}: there is no {WORDS[group]} {name[:MAX_SHOWN]!r}"
        raise file.error(problem, *keys, fix=suggest(name, sorted(known), group))


def _check_kind(file: YamlFile, declared: dict[str, Any], *keys: str) -> None:
    kind = declared.get("kind")
    if kind is None and keys[1] == "schema":
        return
    if not isinstance(kind, str):
        raise file.error(f"{'.'.join(keys)[:MAX_SHOWN]} names no kind", *keys, fix="write {kind: number, …}")
    check_name(file, "kinds", kind, *keys)
    if keys[1] == "kinds":
        file.check(options_model("kind", kind), {key: value for key, value in declared.items() if key != "kind"}, *keys)


def _check_space(file: YamlFile, space: dict[str, Any], architectures: list[str]) -> None:
    """Raise PipelineError for what is searched and is neither an option of these architectures nor of training."""
    if not space:
        return
    from evergreen.models.training.config import TrainingConfig

    known = {name for one in architectures for name in options_model("architecture", one).model_fields}
    known |= {field.name for field in dataclasses.fields(TrainingConfig)}
    for name in space:
        if name not in known:
            problem = f"tune.space: there is no option {name[:MAX_SHOWN]!r}"
            raise file.error(problem, "tune", "space", name, fix=suggest(name, sorted(known), "options"))


def _check_options(file: YamlFile, options: dict[str, Any], architectures: list[str]) -> None:
    """Raise PipelineError for an option that none of the architectures has, or of which none takes the value."""
    models = [options_model("architecture", name) for name in architectures] if options else []
    for option, value in options.items():
        having = [model for model in models if option in model.model_fields]
        if not having:
            known = sorted({name for model in models for name in model.model_fields})
            problem = f"train.options: there is no option {option[:MAX_SHOWN]!r}"
            raise file.error(problem, "train", "options", option, fix=suggest(option, known, "options"))
        errors = []
        for model in having:
            try:
                file.check(model, {option: value}, "train", "options")
                break
            except PipelineError as error:
                errors.append(error)
        else:
            raise errors[0]
