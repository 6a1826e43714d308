"""What there is to build networks of: the files of architectures/ and tasks/, which of them fit, and building one."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from evergreen.core import parts
from evergreen.core.errors import ModelError, suggest
from evergreen.models.base import WITHIN, Architecture, FieldLike, Inputs, Task
from evergreen.models.network import Network

Part = TypeVar("Part")


def architectures() -> list[str]:
    """Return the names of all architectures: the files in `models/architectures/`, the project's among them."""
    return parts.names("architectures")


def tasks() -> list[str]:
    """Return the names of all tasks: the files in `models/tasks/`, the project's among them."""
    return parts.names("tasks")


def architecture(name: str) -> type[Architecture]:
    """The architecture of that name; ModelError with the nearest right word if there is none."""
    return _find("architectures", name, Architecture)


def task(name: str) -> type[Task]:
    """The task of that name; ModelError with the nearest right word if there is none."""
    return _find("tasks", name, Task)


def accepting(inputs: Inputs, task_name: str = "") -> list[str]:
    """Those of `fitting` that can be built here."""
    return [name for name in fitting(inputs, task_name) if installed(architecture(name))]


def fitting(inputs: Inputs, task_name: str = "") -> list[str]:
    """Architectures that can take these inputs and serve the task: the linear anchor, those to try first, the rest."""
    job, here = task(task_name) if task_name else None, {field.kind for field in inputs.values()}
    found = {name: architecture(name) for name in architectures()}
    found = {name: kind for name, kind in found.items() if not _refused(kind, inputs) and kind.serves(inputs)}
    names = [name for name, kind in found.items() if job is None or _form(kind, job, inputs)]
    return sorted(names, key=lambda name: (name != "linear", not found[name].FIRST_FOR & here, name))


def installed(kind: type[Architecture]) -> bool:
    """Whether the extra is there that it cannot be built without."""
    return not kind.REQUIRES or importlib.util.find_spec(kind.REQUIRES) is not None


def head(
    task_name: str, target: FieldLike, features: int = 1, options: Mapping[str, Any] | None = None, form: str = ""
) -> Task:
    """A task for a target, on features of that width and form (default: the one that it works on best)."""
    job = task(task_name)
    check_options(f"task {task_name}", job, options or {})
    return job(target, features, **(options or {}), **_named(job, {"form": form or job.FORMS[0]}))


def build(
    architecture_name: str,
    task_name: str,
    inputs: Inputs,
    target: FieldLike,
    task_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Network:
    """A new network with random weights (set torch's seed before). Options are the architecture's, `size` among them.

    Raises ModelError where a name or an option is unknown, an input's kind is not accepted, or the architecture does
    not give features in a form that the task works on.
    """
    kind, job = architecture(architecture_name), task(task_name)
    _check_inputs(architecture_name, kind, inputs)
    check_options(architecture_name, kind, options)
    form = _form(kind, job, inputs)
    if not form:
        fix = f"choose one of {', '.join(accepting(inputs, task_name)) or 'those that do'}"
        problem = f"it gives no features of the form that {task_name} needs ({' or '.join(job.FORMS)})"
        raise ModelError(problem, place=architecture_name, fix=fix)
    told = {"form": form, "target": target}
    made = kind(inputs, **options, **_named(kind, told))
    return Network(made, head(task_name, target, made.features, task_options, form))


def _find(group: str, name: str, base: type[Part]) -> type[Part]:
    if not parts.is_known(group, name):
        raise ModelError(f"there is no {name!r} in models/{group}", fix=suggest(name, parts.names(group)))
    return parts.find(group, name, base)


def _form(kind: type[Architecture], job: type[Task], inputs: Inputs) -> str:
    """The first form that the task works on, the architecture gives and the inputs have; or nothing."""
    here = {field.kind for field in inputs.values()}
    if job.NEEDS and not job.NEEDS & here:
        return ""
    forms = [form for form in job.FORMS if form in kind.FORMS and (form not in WITHIN or WITHIN[form] & here)]
    fitting = [form for form in forms if form != "target" or kind.MAKES & set(job.TARGETS)]
    return fitting[0] if fitting else ""


def _refused(kind: type[Architecture], inputs: Inputs) -> list[str]:
    """The kinds of input that it does not take, or takes beside another alone."""
    here = {field.kind for field in inputs.values()}
    if kind.NEEDS and not kind.NEEDS & here:
        return sorted(here)
    return [] if "*" in kind.ACCEPTS else sorted(here - kind.ACCEPTS)


def _check_inputs(name: str, kind: type[Architecture], inputs: Inputs) -> None:
    refused = _refused(kind, inputs)
    if refused or not inputs:
        takes = ", ".join(sorted(kind.ACCEPTS - kind.NEEDS))
        takes = f"{' or '.join(sorted(kind.NEEDS))}, and beside it {takes}" if kind.NEEDS else takes
        problem = f"it does not take inputs of kind {', '.join(refused)}" if refused else "there are no inputs"
        raise ModelError(problem, place=name, fix=f"it takes {takes}")


def _named(kind: type[nn.Module], told: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `told` that the constructor has a keyword for."""
    keywords = [one.name for one in inspect.signature(kind).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return {name: value for name, value in told.items() if name in keywords}


def options(kind: type[nn.Module]) -> dict[str, Any]:
    """The options that a user may set of an architecture or a task, with their defaults."""
    parameters = [one for one in inspect.signature(kind).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return {one.name: one.default for one in parameters if one.name not in ("form", "target")}


def check_options(name: str, kind: type[nn.Module], given: Mapping[str, Any]) -> None:
    known = options(kind)
    for option in given:
        if option not in known:
            raise ModelError(f"there is no option {option!r}", place=name, fix=suggest(option, known))
