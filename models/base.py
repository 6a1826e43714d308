"""The contract of the models room: what an architecture is, what a task is, and how the two make a network.

Letters in the names of tensors, here and in every architecture (`x_BLD` has three axes):
B rows of the batch · N rows of a whole split · F features · D width · L positions · T time steps
C channels · H height (of an image) or horizon (of a forecast) · W width of an image · K classes
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter

Batch = Mapping[str, Tensor]
Choice = tuple[float, float] | tuple[float, float, str] | list[Any]


class ModelError(ValueError):
    """A mistake of the user's: says what is wrong, at which place, and how to mend it."""

    def __init__(self, problem: str, *, place: str = "", fix: str = "") -> None:
        self.problem, self.place, self.fix = problem, place, fix
        text = f"{place}: {problem}" if place else problem
        super().__init__(f"{text}; {fix}" if fix else text)


class FieldLike(Protocol):
    """What a model needs to know of one tensor of a batch; `data.spec.Field` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def state(self) -> Mapping[str, Any]: ...


Inputs = Mapping[str, FieldLike]


class Architecture(nn.Module):
    """Turns the inputs of a batch into features (B, F); the task puts the head on.

    A file in `models/architectures/` defines one subclass and is thereby registered under the file's name. One dial,
    `size`, scales it: 1 trains on a laptop's CPU in seconds. Constructor options are keyword arguments with defaults.
    """

    ACCEPTS: ClassVar[frozenset[str]]  # kinds of input; it fits when every input's kind is among them; "*" is any kind
    SPACE: ClassVar[dict[str, Choice]] = {}  # what search may move: fields of Recipe or constructor options
    RECIPE: ClassVar[dict[str, Any]] = {}  # its own defaults for fields of Recipe
    features: int  # F

    def forward(self, batch: Batch) -> Tensor:
        """Inputs of a batch → features (B, F)."""
        raise NotImplementedError

    # Hooks for what is not trained by one loss; most architectures need none of them.

    def groups(self, task: Task) -> dict[str, list[Parameter]]:
        """Parameter groups, trained in turn at every step; each has its own optimiser."""
        return {"all": [*self.parameters(), *task.parameters()]}

    def loss(self, batch: Batch, group: str, task: Task) -> Tensor:
        """The scalar that `group` is to make small, a mean over the rows of the batch."""
        output: Tensor = task(self(batch))
        return task.loss(output, batch["target"])

    def warm_start(self, batches: Iterable[Batch]) -> None:
        """Sets weights from data once, before the first step."""


class Task(nn.Module):
    """Head, loss, metrics, baseline, and how an output becomes an answer that a person can read.

    A file in `models/tasks/` defines one subclass and is thereby registered under the file's name.
    Outputs and targets are encoded (standardised numbers, class indices); metrics and answers are in the data's units.
    """

    TARGET: ClassVar[str]  # kind of the target
    METRICS: ClassVar[dict[str, str]]  # name → "max" | "min"; the first decides

    def __init__(self, target: FieldLike, features: int) -> None:
        super().__init__()
        if target.kind != self.TARGET:
            raise ModelError(
                f"the target is of kind {target.kind!r} where {type(self).__name__.lower()} needs {self.TARGET!r}",
                place="task",
                fix="choose the task that fits the target, or say the target's kind under preprocess",
            )
        self.target, self.features = target, features

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) → the head's output."""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Scalar: the mean loss of the rows."""
        raise NotImplementedError

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        """(N,) the deciding quantity of each row in the data's units, for paired tests."""
        raise NotImplementedError

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Every name of METRICS, over all rows given, in the data's units."""
        raise NotImplementedError

    def baseline(self, train_target: Tensor, rows: Batch, target: Tensor) -> Tensor:
        """The simple opponent's output for `rows`, shaped as the head's."""
        raise NotImplementedError

    def answer(self, output: Tensor) -> list[dict[str, Any]]:
        """One JSON object per row, in the data's units."""
        raise NotImplementedError


class Network(nn.Module):
    """An architecture and a task's head, joined: batch → the head's output."""

    def __init__(self, architecture: Architecture, task: Task) -> None:
        super().__init__()
        self.architecture, self.task = architecture, task

    def forward(self, batch: Batch) -> Tensor:
        output: Tensor = self.task(self.architecture(batch))
        return output

    def groups(self) -> dict[str, list[Parameter]]:
        """The architecture's parameter groups, the head's parameters included."""
        return self.architecture.groups(self.task)

    @torch.no_grad()
    def outputs(self, rows: Batch, at_once: int = 1024) -> Tensor:
        """The head's output for any number of rows, in evaluation mode; the mode is put back afterwards."""
        training = self.training
        self.eval()
        parts = {name: column.split(at_once) for name, column in rows.items()}
        chunks = [dict(zip(parts, chunk, strict=True)) for chunk in zip(*parts.values(), strict=True)]
        output = torch.cat([self(chunk) for chunk in chunks])
        self.train(training)
        return output


def architectures() -> list[str]:
    """Names of all architectures: the files in `models/architectures/`."""
    return _names("architectures")


def tasks() -> list[str]:
    """Names of all tasks: the files in `models/tasks/`."""
    return _names("tasks")


def architecture(name: str) -> type[Architecture]:
    """The architecture of that name; ModelError with the nearest right word if there is none."""
    return _find("architectures", name, Architecture)


def task(name: str) -> type[Task]:
    """The task of that name; ModelError with the nearest right word if there is none."""
    return _find("tasks", name, Task)


def accepting(inputs: Inputs) -> list[str]:
    """Architectures that can take these inputs, the linear anchor first."""
    fitting = [name for name in architectures() if not _refused(architecture(name), inputs)]
    return sorted(fitting, key=lambda name: (name != "linear", name))


def build(architecture_name: str, task_name: str, inputs: Inputs, target: FieldLike, **options: Any) -> Network:
    """A new network with random weights (set torch's seed before). Options are the architecture's, `size` among them.

    Raises ModelError where a name or an option is unknown or an input's kind is not accepted.
    """
    kind = architecture(architecture_name)
    _check_inputs(architecture_name, kind, inputs)
    _check_options(architecture_name, kind, options)
    made = kind(inputs, **options)
    return Network(made, task(task_name)(target, made.features))


def nearest(word: str, words: Iterable[str]) -> str:
    """'did you mean …' or, where nothing is near, the list of right words."""
    right = sorted(words)
    near = difflib.get_close_matches(word, right, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(right)}"


Part = TypeVar("Part")


def _names(folder: str) -> list[str]:
    files = (Path(__file__).parent / folder).glob("*.py")
    return sorted(file.stem for file in files if not file.stem.startswith("_"))


def _find(folder: str, name: str, base: type[Part]) -> type[Part]:
    if name not in _names(folder):
        raise ModelError(f"there is no {name!r} in models/{folder}", fix=nearest(name, _names(folder)))
    module = importlib.import_module(f"models.{folder}.{name}")
    own = [
        part
        for part in vars(module).values()
        if inspect.isclass(part) and issubclass(part, base) and part.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise ModelError(
            f"it defines {len(own)} subclasses of {base.__name__}",
            place=f"models/{folder}/{name}.py",
            fix="define exactly one",
        )
    return own[0]


def _refused(kind: type[Architecture], inputs: Inputs) -> list[str]:
    """The kinds of input that it does not take."""
    return [] if "*" in kind.ACCEPTS else sorted({field.kind for field in inputs.values()} - kind.ACCEPTS)


def _check_inputs(name: str, kind: type[Architecture], inputs: Inputs) -> None:
    refused = _refused(kind, inputs)
    if refused or not inputs:
        takes = ", ".join(sorted(kind.ACCEPTS))
        problem = f"it does not take inputs of kind {', '.join(refused)}" if refused else "there are no inputs"
        raise ModelError(problem, place=name, fix=f"it takes {takes}")


def _check_options(name: str, kind: type[Architecture], options: Mapping[str, Any]) -> None:
    known = set(inspect.signature(kind).parameters) - {"inputs"}
    for option in options:
        if option not in known:
            raise ModelError(f"there is no option {option!r}", place=name, fix=nearest(option, known))
