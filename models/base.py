"""The contract of the models room: what an architecture is, what a task is, and how the two make a network.

Letters in the names of tensors, here and in every architecture (`x_BLD` has three axes):
B rows of the batch · N rows of a whole split · F features · D width · L positions · T time steps
C channels · H height (of an image) or horizon (of a forecast) · W width of an image · K classes
M nodes of a graph, boxes on an image · V vocabulary

Features have a form, which the task asks for and the architecture gives:

row        (B, F)        one vector a row
positions  (B, L, F)     one for each step of the first sequence among the inputs; a step may look both ways
causal     (B, L, F)     the same, but a step has seen those up to itself alone
pixels     (B, F, H, W)  one for each pixel of the first image among the inputs
target     as the target is encoded: the architecture makes the answer itself (generation, translation)
surprise   (B,)          how unlike the training rows a row is
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter

Batch = Mapping[str, Tensor]
STEPS = frozenset({"text", "series", "audio"})
WITHIN = {"positions": STEPS, "causal": STEPS, "pixels": frozenset({"image"})}  # form → kinds that it is a feature of
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
    """Turns the inputs of a batch into features; the task puts the head on.

    A file in `models/architectures/` defines one subclass and is thereby registered under the file's name. One dial,
    `size`, scales it: 1 trains on a laptop's CPU in seconds. Constructor options are keyword arguments with defaults;
    one that names `form` or `target` is told the form of features asked for, or the target's field.
    """

    ACCEPTS: ClassVar[frozenset[str]]  # kinds of input; it fits when every input's kind is among them; "*" is any kind
    NEEDS: ClassVar[frozenset[str]] = frozenset()  # kinds of which one at least must be among the inputs, if any
    FORMS: ClassVar[tuple[str, ...]] = ("row",)  # of features that it can give
    MAKES: ClassVar[frozenset[str]] = frozenset()  # kinds of target that it makes itself, in the form "target"
    FIRST_FOR: ClassVar[frozenset[str]] = frozenset()  # kinds of input with which it is usually worth the first try
    REQUIRES: ClassVar[str] = ""  # a module of an extra without which it cannot be built
    SPACE: ClassVar[dict[str, Choice]] = {}  # what search may move: fields of Recipe or constructor options
    RECIPE: ClassVar[dict[str, Any]] = {}  # its own defaults for fields of Recipe
    features: int  # F

    def forward(self, batch: Batch) -> Tensor:
        """Inputs of a batch → features, in the form that was asked for. It never looks at the target."""
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
        """Sets weights from data once, before the first step. Each pass over `batches` is one over all training rows,
        on every rank alike."""


class Task(nn.Module):
    """Head, loss, metrics, baseline, and how an output becomes an answer that a person can read.

    A file in `models/tasks/` defines one subclass and is thereby registered under the file's name.
    Outputs and targets are encoded (standardised numbers, class indices); metrics and answers are in the data's units.
    Constructor options are keyword arguments with defaults; one that names `form` is told the form of the features.
    """

    TARGETS: ClassVar[tuple[str, ...]]  # kinds of target; a column whose kind nobody says is taken for the first
    FORMS: ClassVar[tuple[str, ...]] = ("row",)  # of features that it works on, the best first
    NEEDS: ClassVar[frozenset[str]] = frozenset()  # kinds of which one at least must be among the inputs, if any
    FROM_ITSELF: ClassVar[bool] = False  # the target is an input, too
    MADE: ClassVar[dict[str, str]] = {}  # inputs that the data need not have: column → kind, each made for every row
    LOSS: ClassVar[bool] = True  # False: it has none of its own, the architecture's counts
    PER_ROW: ClassVar[str] = "min"  # what `per_row` gives is an error; "max": a score
    RESAMPLE: ClassVar[bool] = True  # False: metrics are too slow for the drawings behind an interval
    PICTURE: str = ""  # the file in stages/report/outcomes/ that draws all answers in one
    METRICS: dict[str, str]  # name → "max" | "min"; the first decides

    def __init__(self, target: FieldLike, features: int) -> None:
        super().__init__()
        if target.kind not in self.TARGETS:
            raise ModelError(
                f"the target is of kind {target.kind!r} where {type(self).__name__.lower()} needs "
                + " or ".join(map(repr, self.TARGETS)),
                place="task",
                fix="choose the task that fits the target, or say the target's kind under preprocess",
            )
        self.target, self.features = target, features

    def forward(self, features: Tensor) -> Tensor:
        """Features → the head's output, (B, …)."""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Scalar: the mean loss of the rows."""
        raise NotImplementedError

    def learns_from(self, target: Tensor) -> Tensor:
        """(N,) bool: which training rows it may learn from."""
        return torch.ones(len(target), dtype=torch.bool, device=target.device)

    def facts(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What the metrics of these rows are computed from, (N, …) each: counts, say, where outputs are large."""
        return output, target

    def per_row(self, output: Tensor, target: Tensor) -> Tensor:
        """(N,) the deciding quantity of each row in the data's units, for paired tests; takes what `facts` gives."""
        raise NotImplementedError

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Every name of METRICS, over all rows given, in the data's units; takes what `facts` gives."""
        raise NotImplementedError

    def calibrate(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """New values of own buffers that are chosen by validation rows once the weights stand, such as a threshold."""
        return {}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """The simple opponent's output for `rows`, shaped as the head's. Both batches hold inputs and "target"."""
        raise NotImplementedError

    def answer(self, output: Tensor) -> list[dict[str, Any]]:
        """One JSON object per row, in the data's units."""
        raise NotImplementedError

    def reply(self, network: Network, rows: Batch) -> list[dict[str, Any]]:
        """The answers to a request, for a task that needs more than one output: a text is written token by token."""
        return self.answer(network(rows))


class Network(nn.Module):
    """An architecture and a task's head, joined: batch → the head's output."""

    def __init__(self, architecture: Architecture, task: Task) -> None:
        super().__init__()
        self.architecture, self.task = architecture, task

    def forward(self, batch: Batch) -> Tensor:
        output: Tensor = self.task(self.architecture(batch))
        return output

    def answer(self, rows: Batch) -> list[dict[str, Any]]:
        """The task's answer to each row, in evaluation mode."""
        return self.task.reply(self, rows)

    def groups(self) -> dict[str, list[Parameter]]:
        """The architecture's parameter groups, the head's parameters included."""
        return self.architecture.groups(self.task)

    @torch.no_grad()
    def outputs(self, rows: Batch, at_once: int = 1024) -> Tensor:
        """The head's output for any number of rows, in evaluation mode; the mode is put back afterwards."""
        inputs = {name: column for name, column in rows.items() if name != "target"}
        with _evaluating(self):
            return torch.cat([self(chunk) for chunk in _chunks(inputs, at_once)])

    @torch.no_grad()
    def loss(self, rows: Batch, output: Tensor, at_once: int = 1024) -> float:
        """The mean loss of rows whose output is known: the task's, or the first group's of the architecture."""
        if self.task.LOSS:
            return float(self.task.loss(output, rows["target"]))
        group = next(iter(self.groups()))
        with _evaluating(self):
            parts = [
                (self.architecture.loss(chunk, group, self.task), len(chunk["target"]))
                for chunk in _chunks(rows, at_once)
            ]
        return sum(float(loss) * count for loss, count in parts) / sum(count for _, count in parts)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _chunks(rows: Batch, at_once: int) -> Iterator[dict[str, Tensor]]:
    parts = {name: column.split(at_once) for name, column in rows.items()}
    for chunk in zip(*parts.values(), strict=True):
        yield dict(zip(parts, chunk, strict=True))


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


def accepting(inputs: Inputs, task_name: str = "") -> list[str]:
    """Those of `fitting` that can be built here."""
    return [name for name in fitting(inputs, task_name) if installed(architecture(name))]


def fitting(inputs: Inputs, task_name: str = "") -> list[str]:
    """Architectures that can take these inputs and serve the task: the linear anchor, those to try first, the rest."""
    job, here = task(task_name) if task_name else None, {field.kind for field in inputs.values()}
    found = {name: architecture(name) for name in architectures()}
    found = {name: kind for name, kind in found.items() if not _refused(kind, inputs)}
    names = [name for name, kind in found.items() if job is None or _form(kind, job, inputs)]
    return sorted(names, key=lambda name: (name != "linear", not found[name].FIRST_FOR & here, name))


def installed(kind: type[Architecture]) -> bool:
    """Whether the extra is there that it cannot be built without."""
    return not kind.REQUIRES or importlib.util.find_spec(kind.REQUIRES) is not None


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
    check_options(f"task {task_name}", job, task_options or {})
    form = _form(kind, job, inputs)
    if not form:
        fix = f"choose one of {', '.join(accepting(inputs, task_name)) or 'those that do'}"
        problem = f"it gives no features of the form that {task_name} needs ({' or '.join(job.FORMS)})"
        raise ModelError(problem, place=architecture_name, fix=fix)
    told = {"form": form, "target": target}
    made = kind(inputs, **options, **_named(kind, told))
    return Network(made, job(target, made.features, **(task_options or {}), **_named(job, {"form": form})))


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
            raise ModelError(f"there is no option {option!r}", place=name, fix=nearest(option, known))
