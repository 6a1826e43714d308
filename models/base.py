"""Define the contracts of architectures and tasks.

Letters in the names of tensors, here and in every architecture (`x_BLD` has three axes):
B rows of the batch · N rows of a whole split · F features · D width · L positions · T time steps
C channels · H height (of an image) or horizon (of a forecast) · W width of an image · K classes
M nodes of a graph, boxes on an image · V vocabulary

Features have a layout, which the task asks for and the architecture gives:

pooled         (B, F)        one vector a row
sequence       (B, L, F)     one vector a step of the first sequence among the inputs; a step may see later steps
causal         (B, L, F)     the same, but a step sees itself and earlier steps alone
pixels         (B, F, H, W)  one vector a pixel of the first image among the inputs
target                       the encoded target: the architecture makes it itself (generation, translation)
anomaly_score  (B,)          how unlike the training rows a row is
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from evergreen.core.errors import ModelError
from evergreen.models.answers import Columns, Objects, to_objects
from evergreen.models.shown_rows import EvaluatedRows as EvaluatedRows

if TYPE_CHECKING:
    from evergreen.core.marks import Section
    from evergreen.models.network import Network

Batch = Mapping[str, Tensor]
SEQUENCE_KINDS = frozenset({"text", "series", "audio"})  # kinds that are read step by step
ROW_KINDS = frozenset({"number", "category", "labels"})  # kinds whose values are of a row as a whole
# form → kinds that it is a feature of
LAYOUT_KINDS = {"sequence": SEQUENCE_KINDS, "causal": SEQUENCE_KINDS, "pixels": frozenset({"image"})}
Choice = tuple[float, float] | tuple[float, float, str] | list[Any]


class FieldLike(Protocol):
    """Describe one tensor of a batch, as far as a model needs it; `evergreen.data.field.TensorField` is one."""

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
    """Turn the inputs of a batch into features; the task puts the head on.

    A file in `models/architectures/` defines one subclass, whose name is the file's. One dial, `size`, scales it: 1
    trains on a laptop's CPU in seconds. Constructor options are keyword arguments with defaults. One that is called
    `layout` receives the layout of features asked for, one that is called `target` the target's field.
    """

    VERSION: ClassVar[int] = 1  # raised when the same rows and options give another result
    ACCEPTS: ClassVar[frozenset[str]]  # kinds of input that it takes; "*" is any kind
    NEEDS_ONE_OF: ClassVar[frozenset[str]] = frozenset()  # kinds of input of which it needs one, if any are named
    LAYOUTS: ClassVar[tuple[str, ...]] = ("pooled",)  # of features, that it can give
    GENERATES: ClassVar[frozenset[str]] = frozenset()  # kinds of target that it makes itself, in the layout "target"
    CAN_TRIM_PADDING: ClassVar[bool] = False  # it answers alike where a row ends with the batch's longest text or sound
    IS_BASELINE: ClassVar[bool] = False  # select compares every other architecture with it
    FIRST_FOR: ClassVar[frozenset[str]] = frozenset()  # kinds of input for which it is worth trying first
    EXTRA: ClassVar[str] = ""  # a module that it needs, of an optional extra
    SEARCH_SPACE: ClassVar[dict[str, Choice]] = {}  # for `tune`: fields of TrainingConfig or constructor options
    DEFAULTS: ClassVar[dict[str, Any]] = {}  # its own defaults for fields of TrainingConfig
    STRENGTHS: ClassVar[dict[str, list[Any]]] = {}  # other values than these, that select compares where rows are few
    out_features: int  # F
    __call__: Callable[..., Tensor]
    n_members: int = 1  # networks in one, each with features of its own (`members`) and its own answer

    def forward(self, batch: Batch) -> Tensor:
        """Return the features of a batch, in the layout that was asked for; the target is never read."""
        raise NotImplementedError

    def members(self, batch: Batch) -> Tensor:
        """Return the pooled features of each of `n_members` networks, (B, M, F); `forward` returns what sums them up.

        The answer is the mean of theirs. Override `loss`, too.
        """
        raise NotImplementedError

    # Hooks for what is not trained by one loss; most architectures need none of them.

    def groups(self, task: Task) -> dict[str, list[Parameter]]:
        """Return parameter groups, trained in turn at every step; each has its own optimizer."""
        return {"all": [*self.parameters(), *task.parameters()]}

    def loss(self, batch: Batch, group: str, task: Task) -> Tensor:
        """Return the scalar that `group` minimizes, a mean over the rows of the batch."""
        return task.loss(task(self(batch)), batch["target"])

    @classmethod
    def supports(cls, inputs: Inputs) -> bool:
        """Tell whether it can take inputs of these kinds; override where their state decides, too."""
        return True

    def init_from_data(self, batches: Iterable[Batch]) -> None:
        """Set weights from data, once, before the first step.

        Each iteration over `batches` is an epoch over all training rows, the same on every rank.
        """


class Task(nn.Module):
    """Define a head, its loss, metrics and baseline, and how an output becomes an answer that a person can read.

    A file in `models/tasks/` defines one subclass, whose name is the file's. Outputs and targets are encoded
    (standardized numbers, class indices); metrics and answers are in the data's units. Constructor options are keyword
    arguments with defaults; one that is called `layout` receives the layout of the features.
    """

    VERSION: ClassVar[int] = 1  # raised when the same output or target gives another result
    TARGETS: ClassVar[tuple[str, ...]]  # kinds of target, the usual one first
    LAYOUTS: ClassVar[tuple[str, ...]] = ("pooled",)  # of features, that it works on, the best first
    NEEDS_ONE_OF: ClassVar[frozenset[str]] = frozenset()  # kinds of input of which it needs one, if any are named
    TARGET_IS_INPUT: ClassVar[bool] = False  # the target is an input as well
    GENERATED_INPUTS: ClassVar[dict[str, str]] = {}  # inputs that the data need not have: column → kind
    HAS_LOSS: ClassVar[bool] = True  # False: the architecture has the loss
    ROW_SCORE_GOAL: ClassVar[str] = "min"  # "min": `row_scores` gives errors; "max": scores
    NEEDS_ALL_OUTPUTS: ClassVar[bool] = False  # True: a row's facts compare it with all others
    HAS_PROBABILITIES: ClassVar[bool] = False  # True: `calibrate_probabilities` makes them hold
    CROSS_VALIDATES: ClassVar[bool] = False  # True: few rows are all learned from, and calibrated by folds
    TOLERANCE: ClassVar[float] = 1e-4  # largest difference of outputs, which are logits or standardized, that is none
    SCORES_PAIRS: ClassVar[bool] = False  # `metric_inputs` are outputs and targets that any two rows could have
    BOOTSTRAP_METRICS: ClassVar[bool] = True  # False: metrics are too slow for a bootstrap
    APPLICATIONS: ClassVar[tuple[tuple[str, str, str], ...]] = ()  # (what people want, kinds of inputs, what to mind)
    ESTIMATOR: ClassVar[str] = ""  # the class of evergreen.estimators that it is behind
    REFERENCE: ClassVar[str] = ""  # the simple model it is compared with: see stages/validate/reference_models.py
    IS_FORECAST: ClassVar[bool] = False  # predictions continue a series beyond its known values
    PLOT: str = ""  # what DVC draws of actual and predicted values: confusion, residuals or forecast; "" is nothing
    __call__: Callable[..., Tensor]
    head: Callable[[Tensor], Tensor]  # features → output
    METRICS: dict[str, str]  # name → "max" | "min"; the first decides: for classes and numbers a proper score

    def __init__(self, target: FieldLike, in_features: int) -> None:
        super().__init__()
        if target.kind not in self.TARGETS:
            raise ModelError(
                f"the target is of kind {target.kind!r} where {type(self).__name__.lower()} needs "
                + " or ".join(map(repr, self.TARGETS)),
                place="task",
                fix="choose the task that fits the target, or say the target's kind under preprocess",
            )
        self.target = target

    def forward(self, features: Tensor) -> Tensor:
        """Return the head's output (B, …) for features."""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the rows, a scalar."""
        raise NotImplementedError

    def average(self, outputs: Tensor) -> Tensor:
        """Return the output (B, …) that says the mean of what outputs (B, M, …) say."""
        return outputs.mean(1)

    def classes_unknown_to(self, other: Task) -> list[Any]:
        """Return the classes of this task's target that another task of the same target has never seen."""
        return []

    def scores_like(self, other: Task) -> bool:
        """Tell whether the `row_scores` of another task of the same target are of the same quantity."""
        return True

    def align_output(self, output: Tensor, other: Task) -> Tensor:
        """Express the output (N, …) of `other`, which lacks some classes or scores unlike this task, as this task's."""
        raise NotImplementedError

    def trainable_rows(self, target: Tensor) -> Tensor:
        """Return a mask (N,) of the training rows that may be learned from."""
        return torch.ones(len(target), dtype=torch.bool, device=target.device)

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the metrics are computed from, (N, …) each, such as counts where outputs are large.

        The results of several chunks of rows are concatenated, unless the task NEEDS_ALL_OUTPUTS.
        """
        return output, target

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the deciding quantity (N,) of each row, in the data's units, for paired tests.

        The arguments are the results of `metric_inputs`.
        """
        raise NotImplementedError

    def hits(self, output: Tensor, target: Tensor) -> Tensor | None:
        """Return whether each row's answer is right (N,); None where answers are not simply right or wrong.

        The arguments are the results of `metric_inputs`.
        """
        return None

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Compute every metric of METRICS over all rows, in the data's units.

        The arguments are the results of `metric_inputs`.
        """
        raise NotImplementedError

    def calibrate(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Choose values of own buffers by the validation rows once weights are trained, such as a threshold.

        The arguments are the results of `metric_inputs`.
        """
        return {}

    def correct_priors(self) -> None:
        """Expect training to show each class equally often: probabilities are to hold for the real shares."""

    def calibrate_probabilities(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Make the probabilities of finished weights hold on rows that were not learned from; return what that did.

        The arguments are the results of `metric_inputs`.
        """
        return {}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return the simple baseline's output for `rows`, shaped as the head's; both batches hold "target"."""
        raise NotImplementedError

    def decode_columns(self, output: Tensor) -> Columns:
        """Return the answers as columns, in the data's units; a task may say them by `decode` instead."""
        raise NotImplementedError

    def decode(self, output: Tensor) -> Objects:
        """Return one JSON object a row, in the data's units."""
        return to_objects(self.decode_columns(output))

    def pictures(self, rows: EvaluatedRows) -> Section | None:
        """Return all predictions in a few pictures, as data; None for a task that has no picture of its own."""
        return None

    def predict(self, network: Network, rows: Batch) -> Objects:
        """Answer a request; override where that takes more than one output, such as text token by token."""
        return self.decode(network(rows))
