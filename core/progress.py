"""Report the progress of long work: one live line on a terminal, one kept line per finished stage, nothing else.

A stage calls `progress(stage="train", epoch=3, epochs=40, samples_per_second=…, seconds_left=…, accuracy=…)` as often
as it likes. Whoever runs it calls `progress(stage="train", summary="…", seconds=…)` when the stage is done.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Progress = Callable[..., None]


def no_progress(**_: Any) -> None:
    """Report nothing."""


@contextmanager
def console_progress() -> Iterator[Progress]:
    """Yield a Progress that writes to stderr: a live line where it is a terminal, else plain lines."""
    if not sys.stderr.isatty():
        yield _print_summary
    else:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        console = Console(stderr=True, highlight=False)
        with Live(console=console, transient=True, refresh_per_second=8) as live:

            def progress(**facts: Any) -> None:
                if "summary" in facts:
                    console.print(Text(format_done(**facts)), soft_wrap=True)
                    live.update("")
                else:
                    text = Text(format_live(**facts))
                    text.truncate(console.width - 2, overflow="ellipsis")  # beside the spinner, on one line
                    live.update(Spinner("dots", text))

            yield progress


def _print_summary(**facts: Any) -> None:
    if "summary" in facts:
        print(format_done(**facts), file=sys.stderr, flush=True)


def format_summary(summary: Mapping[str, Any]) -> str:
    """Format a stage's summary in one line: its reason if it gives one, else its numbers and names."""
    if "why" in summary:
        return str(summary["why"])
    parts = []
    for name, value in summary.items():
        if isinstance(value, dict) and value and all(isinstance(item, int | float) for item in value.values()):
            value = ", ".join(f"{key} {format_number(item)}" for key, item in value.items())
            parts.append(f"{name.replace('_', ' ')} ({value})")
        elif isinstance(value, str | int | float):
            parts.append(f"{name.replace('_', ' ')} {format_number(value)}")
    return ", ".join(parts)


def format_number(value: Any) -> str:
    """Format four digits of a fraction, all of a whole number."""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def format_done(*, stage: str, summary: str, seconds: float | None = None, **_: Any) -> str:
    """Format the line that stays: ✓ train       12.3 s  accuracy 0.993 after 31 epochs."""
    took = "" if seconds is None else f"{seconds:6.1f} s"
    return f"✓ {stage:<11}{took:>8}  {summary}".rstrip()


def format_live(*, stage: str, samples_per_second: float = 0, seconds_left: float | None = None, **facts: Any) -> str:
    """Format the live line: train · epoch 3/40 · accuracy 0.981 · 5,210 samples/s · 12 s left."""
    parts = [stage]
    for name, value in facts.items():
        total = facts.get(f"{name}s")
        if (name.endswith("s") and name[:-1] in facts) or value is None:
            continue
        parts.append(f"{name.replace('_', ' ')} {format_number(value)}" + (f"/{total}" if total is not None else ""))
    if samples_per_second:
        parts.append(f"{samples_per_second:,.0f} samples/s")
    if seconds_left is not None:
        parts.append(f"{seconds_left:.0f} s left")
    return " · ".join(parts)
