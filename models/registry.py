"""Find architectures and tasks by the names of their files, and build networks of them."""

import importlib.util
import inspect
from collections.abc import Mapping, Set
from typing import Any, TypeVar

from torch import nn

from evergreen.core import parts
from evergreen.core.errors import ModelError, suggest
from evergreen.models.base import LAYOUT_KINDS, Architecture, FieldLike, Inputs, Task
from evergreen.models.network import Network

Part = TypeVar("Part")


def list_architectures() -> list[str]:
    """Return the names of all architectures: the files in `models/architectures/`, the project's among them."""
    return parts.names("architectures")


def list_tasks() -> list[str]:
    """Return the names of all tasks: the files in `models/tasks/`, the project's among them."""
    return parts.names("tasks")


def find_architecture(name: str) -> type[Architecture]:
    """Return the architecture of that name. Raises ModelError with the nearest name if there is none."""
    return _find_part("architectures", name, Architecture)


def find_task(name: str) -> type[Task]:
    """Return the task of that name. Raises ModelError with the nearest name if there is none."""
    return _find_part("tasks", name, Task)


def find_estimated(estimator: str) -> str:
    """Return the name of the task behind an estimator of `evergreen.estimators`."""
    return next(name for name in list_tasks() if estimator == find_task(name).ESTIMATOR)


def buildable(inputs: Inputs, task_name: str = "") -> list[str]:
    """List the compatible architectures whose extra is installed."""
    return [name for name in compatible(inputs, task_name) if is_available(find_architecture(name))]


def compatible(inputs: Inputs, task_name: str = "") -> list[str]:
    """List architectures that take these inputs and serve the task: baseline, those to try first, the rest."""
    job, input_kinds = find_task(task_name) if task_name else None, {field.kind for field in inputs.values()}
    parts_by_name = {name: find_architecture(name) for name in list_architectures()}
    parts_by_name = {
        name: kind for name, kind in parts_by_name.items() if not _refused_kinds(kind, inputs) and kind.supports(inputs)
    }
    names = [name for name, kind in parts_by_name.items() if job is None or common_layout(kind, job, inputs)]
    return sorted(
        names,
        key=lambda name: (not parts_by_name[name].IS_BASELINE, not parts_by_name[name].FIRST_FOR & input_kinds, name),
    )


def is_tried_first(name: str, kinds: Set[str]) -> bool:
    """Tell whether the architecture is the baseline or worth trying first with inputs of one of these kinds."""
    kind = find_architecture(name)
    return kind.IS_BASELINE or bool(kind.FIRST_FOR & kinds)


def is_available(kind: type[Architecture]) -> bool:
    """Tell whether the module that the architecture needs is installed."""
    return not kind.EXTRA or importlib.util.find_spec(kind.EXTRA) is not None


def build_head(
    task_name: str, target: FieldLike, in_features: int = 1, options: Mapping[str, Any] | None = None, layout: str = ""
) -> Task:
    """Build a task for a target, on features of that width and layout (default: the one it prefers)."""
    job = find_task(task_name)
    check_options(f"task {task_name}", job, options or {})
    return job(target, in_features, **(options or {}), **_accepted_keywords(job, {"layout": layout or job.LAYOUTS[0]}))


def build(
    architecture_name: str,
    task_name: str,
    inputs: Inputs,
    target: FieldLike,
    task_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Network:
    """Build a network with random weights (set torch's seed before); `options` are the architecture's.

    Raises ModelError where a name or an option is unknown, an input's kind is not accepted, or the architecture gives
    no layout of features that the task works on.
    """
    kind, job = find_architecture(architecture_name), find_task(task_name)
    _check_inputs(architecture_name, kind, inputs)
    check_options(architecture_name, kind, options)
    layout = common_layout(kind, job, inputs)
    if not layout:
        fix = f"choose one of {', '.join(buildable(inputs, task_name)) or 'those that do'}"
        problem = f"it gives no features of the form that {task_name} needs ({' or '.join(job.LAYOUTS)})"
        raise ModelError(problem, place=architecture_name, fix=fix)
    offered = {"layout": layout, "target": target}
    architecture = kind(inputs, **options, **_accepted_keywords(kind, offered))
    return Network(architecture, build_head(task_name, target, architecture.out_features, task_options, layout))


def _find_part(group: str, name: str, base: type[Part]) -> type[Part]:
    if not parts.is_known(group, name):
        raise ModelError(f"there is no {name!r} in models/{group}", fix=suggest(name, parts.names(group)))
    return parts.find(group, name, base)


def common_layout(kind: type[Architecture], job: type[Task], inputs: Inputs) -> str:
    """Return the first layout that the task works on, the architecture gives and the inputs allow, or ""."""
    input_kinds = {field.kind for field in inputs.values()}
    if job.NEEDS_ONE_OF and not job.NEEDS_ONE_OF & input_kinds:
        return ""
    layouts = [
        layout
        for layout in job.LAYOUTS
        if layout in kind.LAYOUTS and (layout not in LAYOUT_KINDS or LAYOUT_KINDS[layout] & input_kinds)
    ]
    fitting = [layout for layout in layouts if layout != "target" or kind.GENERATES & set(job.TARGETS)]
    return fitting[0] if fitting else ""


def _refused_kinds(kind: type[Architecture], inputs: Inputs) -> list[str]:
    """Return the kinds of input that the architecture does not take, or takes beside another kind alone."""
    input_kinds = {field.kind for field in inputs.values()}
    if kind.NEEDS_ONE_OF and not kind.NEEDS_ONE_OF & input_kinds:
        return sorted(input_kinds)
    return [] if "*" in kind.ACCEPTS else sorted(input_kinds - kind.ACCEPTS)


def _check_inputs(name: str, kind: type[Architecture], inputs: Inputs) -> None:
    refused = _refused_kinds(kind, inputs)
    if refused or not inputs:
        takes = ", ".join(sorted(kind.ACCEPTS - kind.NEEDS_ONE_OF))
        takes = f"{' or '.join(sorted(kind.NEEDS_ONE_OF))}, and beside it {takes}" if kind.NEEDS_ONE_OF else takes
        problem = f"it does not take inputs of kind {', '.join(refused)}" if refused else "there are no inputs"
        raise ModelError(problem, place=name, fix=f"it takes {takes}")


def _accepted_keywords(kind: type[nn.Module], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `offered` that the constructor has a keyword for."""
    keywords = [one.name for one in inspect.signature(kind).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return {name: value for name, value in offered.items() if name in keywords}


def options(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the options that a user may set of an architecture or a task, with their defaults."""
    parameters = [one for one in inspect.signature(kind).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return {one.name: one.default for one in parameters if one.name not in ("layout", "target")}


def check_options(name: str, kind: type[nn.Module], given: Mapping[str, Any]) -> None:
    """Raise ModelError with the nearest name for an option that the part does not have."""
    known = options(kind)
    for option in given:
        if option not in known:
            raise ModelError(f"{option!r} is not an option of this part", place=name, fix=suggest(option, known))
