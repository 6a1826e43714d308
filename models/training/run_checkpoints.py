"""Keep the checkpoints of a run: written beside training, which waits for a copy in memory alone; and restored."""

import logging
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import distributed

from evergreen.models.training import checkpoint, sharded_checkpoint
from evergreen.models.training.distributed import DistributedContext
from evergreen.models.training.state import TrainingState

log = logging.getLogger(__name__)


class RunCheckpoints:
    """Keep checkpoints in `folder`, None for none; with `is_sharded` every rank writes the share that it holds."""

    def __init__(self, folder: Path | None, context: DistributedContext, *, is_sharded: bool) -> None:
        self.folder, self.context, self.is_sharded = folder, context, is_sharded
        self.saved = time.monotonic()
        self._thread: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None
        self._group: Any = None

    def is_due(self, seconds: float) -> bool:
        """Tell whether the last one is so long ago; ranks that write together decide together."""
        mine = time.monotonic() - self.saved >= seconds
        return self.context.broadcast_bool(mine) if self.is_sharded else mine

    def restore(self, state: TrainingState) -> bool:
        """Load the newest complete one into the state; return False where there is none of this very run."""
        if self.folder is None:
            return False
        found = None
        if self.context.is_first:
            sharded_checkpoint.remove_unfinished(self.folder)
            found = checkpoint.newest(self.folder)
        block = self.context.broadcast_bytes(found and found[1])
        if block is None:
            return False
        name = (self.context.broadcast_bytes(found and found[0].name.encode()) or b"").decode()
        if name.endswith(sharded_checkpoint.ENDING):
            is_loaded = state.load(*sharded_checkpoint.load(self.folder / name, block, state.template))
        else:
            is_loaded = state.load(*checkpoint.decode(block))
        if not is_loaded:
            log.warning("%s holds checkpoints of another run: training starts anew", self.folder)
        return is_loaded

    def start(self, state: TrainingState) -> None:
        """Copy the state, and begin to write it once the one before is written."""
        self.saved = time.monotonic()
        folder = self.folder
        if folder is None:
            return
        self.wait()
        if self.is_sharded:
            self._start_shares(state, folder)
        elif self.context.is_first:
            tensors = {name: one.detach().to("cpu", copy=True) for name, one in state.tensors().items()}
            facts, step = state.facts(), state.step
            self._submit(lambda: checkpoint.save(folder, step, tensors, facts))

    def wait(self) -> None:
        """Wait until what was begun is written. Raises what went wrong."""
        last, self._last = self._last, None
        if last:
            last.result()

    def _start_shares(self, state: TrainingState, folder: Path) -> None:
        if self._group is None:  # training goes on in the other one meanwhile
            self._group = distributed.new_group(backend="gloo")
        name = (self.context.broadcast_bytes(uuid.uuid4().hex.encode()) or b"").decode()
        ending = sharded_checkpoint.write(folder, name, state.tensors(), self._group)
        facts, step = state.facts(), state.step

        def finish() -> None:
            ending.result()
            if self.context.is_first:
                sharded_checkpoint.commit(folder, name, step, facts)
                checkpoint.remove_old(folder)

        self._submit(finish)

    def _submit(self, work: Callable[[], None]) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, "checkpoint")
        self._last = self._thread.submit(work)
