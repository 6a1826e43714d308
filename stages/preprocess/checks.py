"""A look at what prepared rows hide, before they take their place and beside the fitting of what encodes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from evergreen.stages.preprocess import leaks, samples

if TYPE_CHECKING:
    import pyarrow as pa

    from evergreen.models.base import Task
    from evergreen.stages.preprocess.passes import Passed


class Wishes(Protocol):
    """What a pipeline says that matters here; see `evergreen.stages.preprocess.stage.Params` for each."""

    @property
    def key(self) -> list[str]: ...
    @property
    def leaks(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def time(self) -> str: ...


def look(
    done: Passed, train: pa.Table, job: type[Task], wishes: Wishes
) -> tuple[samples.Samples, list[dict[str, Any]] | None]:
    """Some of the rows of a pass, and the leaks found in them as JSON, the grave first; None where they are not looked
    for. `train` are many of the training rows, those of smallest identities.

    Raises PipelineError where something grave is found and the pipeline says `leaks: stop`.
    """
    found = samples.read(done, train, time=wishes.time, memory_mb=wishes.memory_mb)
    if wishes.leaks == "off":
        return found, None
    hidden = leaks.find(found, differ=_differ(done.reader.by, job, wishes))
    if wishes.leaks == "stop":
        leaks.stop(hidden)
    return found, [asdict(leak) for leak in hidden]


def _differ(by: str, job: type[Task], wishes: Wishes) -> bool:
    """Whether the splits are made to differ: by time, by groups, or by what the task learns from."""
    from evergreen.models.base import Task

    return by != "identity" or bool(wishes.key) or job.learns_from is not Task.learns_from
