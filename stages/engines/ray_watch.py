"""Notice within a second that this clone's Ray has died: whoever is connected to it hangs for a minute, then aborts."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from evergreen.core.background import in_background
from evergreen.core.errors import OutageError
from evergreen.core.processes import read_record
from evergreen.stages.engines import cluster_file, ray_node

Answer = TypeVar("Answer")
AGAIN_SECONDS = 10.0  # until the interruption is repeated: a callback of C code may have swallowed it
MAX_INTERRUPTIONS = 3  # after which the process is ended: C code that waits for a dead Ray hears none
AGAIN = "run it again: what was finished is kept"


@contextlib.contextmanager
def raise_outage(root: Path) -> Iterator[None]:
    """Raise an OutageError where Ray, or a process of its that the block needs, dies before the block is done.

    SIGTERM ends the block at once, too: what waits in Ray hears no other exception of a handler than KeyboardInterrupt.
    """
    record = None if cluster_file.read(root).address else read_record(ray_node.place(root))
    if record and not ray_node.is_up(record):  # it died before anybody watched
        raise _outage(root)
    heard: set[int] = set()
    try:
        with _interrupt(record, heard, root):
            yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and not heard:
            raise
        if record and not ray_node.is_up(record):
            raise _outage(root) from None
        if _is_lost_process(error):
            raise OutageError(f"a process of Ray's died ({str(error).splitlines()[0]})", fix=AGAIN) from None
        raise
    if record and not ray_node.is_up(record):
        raise _outage(root)


def ask(question: Callable[[], Answer]) -> Answer:
    """Return what a function of Ray's answers, called in a thread of its own: in its C code no signal is heard.

    Raises OutageError where there is no answer.
    """
    from ray.exceptions import RayError

    answers: list[Answer] = []

    def call() -> None:
        with contextlib.suppress(RayError, RuntimeError, OSError, ValueError):
            answers.append(question())

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(ray_node.POLL_SECONDS)
    if not answers:
        raise OutageError("Ray does not answer", fix=AGAIN)
    return answers[0]


def _outage(root: Path) -> OutageError:
    return OutageError("Ray died", place=str(ray_node.home(root) / "ray"), fix=AGAIN)


def _is_lost_process(error: BaseException) -> bool:
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


@contextlib.contextmanager
def _interrupt(record: dict[str, Any] | None, heard: set[int], root: Path) -> Iterator[None]:
    """Interrupt the block, in Python's main thread, at SIGTERM and when the recorded Ray is no longer up."""
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield
        return

    def interrupt(number: int, _frame: Any) -> None:
        heard.add(number)
        raise KeyboardInterrupt

    def watch(over: threading.Event) -> None:
        pause, interruptions = ray_node.POLL_SECONDS, 0
        while not over.wait(pause):
            if record and not ray_node.is_up(record):
                if interruptions == MAX_INTERRUPTIONS:
                    print(f"evergreen: {_outage(root)}", file=sys.stderr, flush=True)
                    os._exit(2)
                signal.pthread_kill(main.ident, signal.SIGUSR2)  # type: ignore[arg-type]
                pause, interruptions = AGAIN_SECONDS, interruptions + 1

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGUSR2, signal.SIGTERM)}
    try:
        with in_background(watch):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if signal.SIGTERM in heard:
            signal.raise_signal(signal.SIGTERM)  # for who handles it outside, also where the block caught it
