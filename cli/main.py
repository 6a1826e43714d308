"""Start `evergreen`. It imports nothing by itself, so that Ctrl-C is quiet from the first moment."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

INTERRUPTED = 130  # exit status
AGAIN_SECONDS = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 2 after one line for a user's mistake, 130 when interrupted."""
    sys.unraisablehook = _interrupt_again
    try:
        from evergreen.cli.application import run_command

        return run_command(arguments)
    except KeyboardInterrupt:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends what ends slowly, without a word
        return INTERRUPTED


def _interrupt_again(unraisable: Any) -> None:
    """Send a signal once more that fell into a finalizer or a callback, which cannot be interrupted."""
    import contextlib
    import os
    import signal
    import threading

    by_ctrl_c = signal.SIGINT if unraisable.exc_type is KeyboardInterrupt else 0
    number = by_ctrl_c or getattr(unraisable.exc_value, "signal", 0)  # of Prefect's TerminationSignal
    if not number:
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread starts at the end of the process, which is as good
        again.start()


if __name__ == "__main__":
    raise SystemExit(main())
