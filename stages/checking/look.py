"""A look at what prepared rows hide, before they take their place and beside the fitting of what encodes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.checking import leaks, samples

if TYPE_CHECKING:
    import pyarrow as pa

    from data.examples import Reader
    from models.base import Task


class Wishes(Protocol):
    """What a pipeline says that matters here; see `stages.preprocess.Params` for each."""

    @property
    def key(self) -> list[str]: ...
    @property
    def leaks(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def time(self) -> str: ...


def look(
    folder: Path, kept: Path, train: pa.Table, reader: Reader, rows: Mapping[str, int], job: type[Task], wishes: Wishes
) -> tuple[samples.Samples, list[dict[str, Any]] | None]:
    """Some of the prepared rows in `folder`, so many `rows` a split, and the leaks found in them as JSON, the grave
    first; None where they are not looked for. `train` are many of the training rows, those of smallest identities;
    `kept` is where some of the others lie by themselves, see `data.ready.sample`.

    Raises PipelineError where something grave is found and the pipeline says `leaks: stop`.
    """
    time, memory_mb = wishes.time, wishes.memory_mb
    found = samples.read(folder, kept, train, reader.schema, rows, time=time, memory_mb=memory_mb)
    if wishes.leaks == "off":
        return found, None
    hidden = leaks.find(found, differ=_differ(reader, job, wishes))
    if wishes.leaks == "stop":
        leaks.stop(hidden)
    return found, [asdict(leak) for leak in hidden]


def _differ(reader: Reader, job: type[Task], wishes: Wishes) -> bool:
    """Whether the splits are made to differ: by time, by groups, or by what the task learns from."""
    from models.base import Task

    return reader.by != "identity" or bool(wishes.key) or job.learns_from is not Task.learns_from
