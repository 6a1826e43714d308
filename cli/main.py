"""Start `evergreen`. It imports nothing by itself, so that Ctrl-C is quiet from the first moment."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130  # exit status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 2 after one line for a user's mistake, 130 when interrupted."""
    try:
        from evergreen.cli.application import run_command

        return run_command(arguments)
    except KeyboardInterrupt:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends what ends slowly, without a word
        return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
