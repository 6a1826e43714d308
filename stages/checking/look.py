"""What happens to prepared rows after they are written and before they take their place: a look at what they hide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.checking import leaks, samples

if TYPE_CHECKING:
    import pyarrow as pa

    from data.spec import Spec


class Wishes(Protocol):
    """What a pipeline says that matters here; see `stages.preprocess.Params` for each."""

    @property
    def key(self) -> list[str]: ...
    @property
    def leaks(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...


def look(
    ready: Path, spec: Spec, summary: Mapping[str, Any], wishes: Wishes, train: pa.Table, kept: Path
) -> tuple[samples.Samples, list[dict[str, Any]] | None]:
    """Some of the rows in `ready`, and the leaks found in them as JSON, the grave first; None where they are not
    looked for. `train` are many of the training rows, those of smallest identities; `kept` is where some of the others
    lie by themselves, see `data.ready.sample`.

    Raises PipelineError where something grave is found and the pipeline says `leaks: stop`.
    """
    rows = samples.read(ready, spec, summary["inputs"], wishes.memory_mb, train, kept)
    if wishes.leaks == "off":
        return rows, None
    found = leaks.find(rows, differ=_differ(spec, summary, wishes))
    if wishes.leaks == "stop":
        leaks.stop(found)
    return rows, [asdict(leak) for leak in found]


def _differ(spec: Spec, summary: Mapping[str, Any], wishes: Wishes) -> bool:
    """Whether the splits are made to differ: by time, by groups, or by what the task learns from."""
    from models.base import Task
    from models.catalogue import task

    moved = task(spec.task).learns_from is not Task.learns_from
    return summary["by"] != "identity" or bool(wishes.key) or moved
