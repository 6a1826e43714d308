"""Check an architecture or a task: every pair on every kind that it accepts is built, trained, stored and asked.

A check raises AssertionError with what is wrong.
"""

import dataclasses
import inspect
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from evergreen.data.kinds import find as find_kind
from evergreen.models.base import SEQUENCE_KINDS as STEPS_OF
from evergreen.models.base import Architecture, Task
from evergreen.models.network import Network
from evergreen.models.registry import buildable, common_layout, find_architecture, find_task, list_tasks
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer
from evergreen.stages.checking.sample_inputs import INPUTS, PAIRS, make_network
from evergreen.stages.checking.sample_inputs import rows as sample_rows

SETS = [*((kind,) for kind in INPUTS), *PAIRS]
# repetitions of the eight rows in an epoch; epochs until they must be learned
STEPS, EPOCHS = 5, (2, 3, 4, 6, 8, 10, 14, 20, 60)
PATIENT = ((2e-2, 60), (5e-3, 60), (2e-3, 60))  # rates and most epochs
TRIES = ((3e-2, 20), (5e-2, 14), (1e-2, 20), *PATIENT)  # the first is quick, or too quick
PROMISES = ("In:", "Out:", "Choose", "size=1")  # of an architecture's docstring


class Case(NamedTuple):
    """An architecture with a task, on inputs of these kinds and a target of that kind."""

    name: str
    task: str
    kinds: tuple[str, ...]
    target: str


def cases(names: Iterable[str], tasks: Iterable[str]) -> Iterator[Case]:
    """Yield the cases of these architectures and tasks that select would let race."""
    wanted = list(tasks)
    racing = {(kinds, job): _racing(kinds, job) for kinds in SETS for job in wanted}
    for name in names:
        for kinds in SETS:
            for job in wanted:
                if name in racing[kinds, job]:
                    yield from (Case(name, job, kinds, target) for target in find_task(job).TARGETS)


def _racing(kinds: tuple[str, ...], job: str) -> list[str]:
    """List the architectures that select would let race."""
    fields, task = {kind: INPUTS[kind] for kind in kinds}, find_task(job)
    generated = {kind for name in list_tasks() for kind in find_task(name).GENERATED_INPUTS.values()}
    if generated & {*kinds} != {*task.GENERATED_INPUTS.values()}:  # an input of what draws samples alone
        return []
    if task.IS_FORECAST and task.TARGETS[0] not in kinds:  # what comes next follows a history
        return []
    if task.TARGET_IS_INPUT and kinds != task.TARGETS[:1]:
        return []
    return buildable(fields, job)


def case_rows(case: Case) -> dict[str, Tensor]:
    """Return eight rows that the case can learn."""
    batch = sample_rows(case.kinds, case.target, 8)
    if find_task(case.task).trainable_rows is not Task.trainable_rows:  # of the class that is normal, some at least
        batch["target"][:4] = 0
    return {**batch, "target": batch[case.kinds[0]]} if find_task(case.task).TARGET_IS_INPUT else batch


def check_pair(case: Case) -> None:
    """Check features, answers, gradients, and that stored weights come back."""
    network, batch = make_network(*case, size=0.5), case_rows(case)
    _check_shapes(network, case, batch)
    _check_answers(network, batch)
    _check_request(network, batch)
    _check_gradients(network, batch)
    _check_storage(network, make_network(*case, size=0.5), batch)


def check_learns(case: Case, first_tries: Iterable[tuple[float, int]] = ()) -> None:
    """Check that eight rows are learned by heart; `first_tries` are learning rates and epochs that are known to do."""
    batch = case_rows(case)
    often = {column: torch.cat([values] * STEPS) for column, values in batch.items()}
    before, losses = float("nan"), list[float]()
    for rate, max_epochs in (*first_tries, *TRIES):
        network = make_network(*case, size=0.25)
        before, _ = network.evaluate(batch)
        recipe = TrainingConfig(
            epochs=EPOCHS[-1], batch_size=8, learning_rate=rate, weight_decay=0, schedule="constant", clip=1.0
        )
        loop = Trainer(network, TensorFeed(often, 8), batch, recipe)
        for epochs in (epochs for epochs in EPOCHS if epochs <= max_epochs):
            loop.run(epochs)
            if _has_learned(network, loop, before):
                return
        losses = [record["validation_loss"] for record in loop.history]
    raise AssertionError(f"it does not learn eight rows by heart: loss {before} before, then {losses}")


def _has_learned(network: Network, loop: Trainer, before: float) -> bool:
    lowest = min(record["validation_loss"] for record in loop.history)
    # a loss of its own may have converged while the task's still falls
    own = type(network.architecture).loss is not Architecture.loss
    if own and loop.history[-1]["train_loss"] < 0.4 * loop.history[0]["train_loss"]:
        return True
    return bool(lowest < 0.4 * before if network.task.HAS_LOSS else lowest < before or len(network.groups()) > 1)


def is_trimmed(case: Case) -> bool:
    """Tell whether `check_padding` concerns the case."""
    has_length = any(find_kind(kind).HAS_LENGTH for kind in case.kinds)
    return find_architecture(case.name).CAN_TRIM_PADDING and has_length and not find_kind(case.target).HAS_LENGTH


def check_padding(case: Case) -> None:
    """Check that padding which all rows have changes no answer, as CAN_TRIM_PADDING promises."""
    network, batch = make_network(*case, size=0.5), sample_rows(case.kinds, case.target, 8)
    long, is_aligned = next(kind for kind in case.kinds if find_kind(kind).HAS_LENGTH), find_kind(case.target).ALIGNED
    along = [long, *(["target"] if is_aligned else [])]
    steps = batch[long].shape[1] - 2
    batch[long][:, steps:] = 0
    short = {column: values[:, :steps] if column in along else values for column, values in batch.items()}
    outputs = network.compute_outputs(batch)
    outputs = outputs[:, :steps] if is_aligned else outputs
    assert torch.allclose(network.compute_outputs(short), outputs, atol=1e-5), (
        "it says CAN_TRIM_PADDING, but padding changes an answer"
    )


def check_size(case: Case) -> None:
    """Check that `size` is a dial."""
    small, large = (
        sum(weights.numel() for weights in make_network(*case, size=size).parameters()) for size in (0.5, 2.0)
    )
    fixed = "size" not in find_architecture(case.name).SEARCH_SPACE and small == large
    assert small < large or fixed, f"size=2 has {large} weights, size=0.5 has {small}"


def check_declarations(name: str) -> None:
    """Check that SEARCH_SPACE and DEFAULTS name what exists, and that the docstring says when to choose it."""
    kind = find_architecture(name)
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    unknown = set(kind.SEARCH_SPACE) - fields - set(inspect.signature(kind).parameters)
    assert not unknown, f"SEARCH_SPACE names neither an option nor a setting of training: {', '.join(sorted(unknown))}"
    TrainingConfig().replace(**kind.DEFAULTS)
    missing_words = [word for word in PROMISES if word not in (kind.__doc__ or "")]
    assert not missing_words, f"its docstring lacks {', '.join(missing_words)}"


def _check_shapes(network: Network, case: Case, batch: dict[str, Tensor]) -> None:
    """Check that features have the form that the task was built for."""
    fields = {kind: INPUTS[kind] for kind in case.kinds}
    layout = common_layout(type(network.architecture), find_task(case.task), fields)
    width = network.architecture.out_features
    shape = tuple(network.eval().architecture({kind: batch[kind] for kind in case.kinds}).shape)
    length = next((fields[kind].shape[0] for kind in case.kinds if kind in STEPS_OF), 0)
    wanted = {"pooled": (width,), "sequence": (length, width), "causal": (length, width), "anomaly_score": ()}
    wanted |= {"pixels": (width, 8, 8), "target": tuple(network.task.target.shape)}
    assert shape == (8, *wanted[layout]), f"its features are {shape} where {layout} is {(8, *wanted[layout])}"


def _check_request(network: Network, batch: dict[str, Tensor]) -> None:
    """Check that a request of one row is answered in JSON, and alike when it is asked again."""
    row = {name: column[:1] for name, column in batch.items() if name != "target"}
    with torch.inference_mode():
        answers = network.eval().predict(row)
        assert json.loads(json.dumps(answers)) == json.loads(json.dumps(network.predict(row))), "it answers by chance"
    assert len(answers) == 1, f"{len(answers)} answers to one row"
    assert "prediction" in answers[0], f"no prediction in the answer {answers[0]}"


def _check_answers(network: Network, batch: dict[str, Tensor]) -> None:
    output, target, job = network.compute_outputs(batch), batch["target"], network.task
    assert len(output) == len(target), f"{len(output)} outputs of {len(target)} rows"
    answers = json.loads(json.dumps(job.decode(output)))
    assert len(answers) == len(target), f"{len(answers)} answers of {len(target)} rows"
    facts = job.metric_inputs(output, target)
    assert len(job.row_scores(*facts)) == len(target), "row_scores gives not one number a row"
    baseline = job.baseline(batch, batch)
    assert baseline.shape[0] == len(target), "the baseline gives not one output a row"
    for metrics in (job.metrics(*facts), job.metrics(*job.metric_inputs(baseline, target))):
        assert set(metrics) == set(job.METRICS), f"metrics gives {sorted(metrics)}, METRICS says {sorted(job.METRICS)}"


def _check_gradients(network: Network, batch: dict[str, Tensor]) -> None:
    for group in network.groups():
        network.architecture.loss(batch, group, network.task).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches {name}"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


def _check_storage(network: Network, other: Network, batch: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    tensors, _ = checkpoint.decode(checkpoint.encode(network.state_dict(), {}))
    assert not torch.equal(network.compute_outputs(batch), other.compute_outputs(batch)), (
        "other weights give the same outputs"
    )
    other.load_state_dict(tensors)
    assert torch.equal(network.compute_outputs(batch), other.compute_outputs(batch)), (
        "stored weights give other outputs"
    )
