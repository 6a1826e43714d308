"""Keep one file of each run: when it began and why, what its steps said, and how it ended.

A file holds JSON lines under `.evergreen/history/NAME`, the first `{"format": 1, "started": …, "trigger": …}` and the
last `{"end": …, "why": …}`. They are read without Prefect, and stay readable after a crash: a line is written at once.
"""

import json
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.core.paths import Paths
from evergreen.core.processes import describe_process, is_alive
from evergreen.core.redaction import redact

FORMAT = 1
BY_DECISION = ("approve", "rollback", "deploy", "promote", "abort")  # triggers that change what answers and do no more
MAX_KEPT = 500  # runs of a pipeline
Write = Callable[..., None]


@dataclass(frozen=True)
class RunRecord:
    """Hold what is known of one run."""

    started: str  # ISO 8601, in UTC
    trigger: str  # why it ran
    end: str  # ok, failed, cancelled, died or running
    why: str  # it ended so
    ended: str  # ISO 8601, in UTC; "" where it has not, or nobody knows when
    lines: tuple[dict[str, Any], ...] = ()  # what its steps said

    @property
    def is_update(self) -> bool:
        """True if it was to bring the pipeline up to date, and came to an end of its own."""
        return self.trigger not in BY_DECISION and self.end in ("ok", "failed", "died")


@contextmanager
def record_run(paths: Paths, trigger: str) -> Iterator[Write]:
    """Record the run in the block, which may write facts about it; the caller holds the pipeline's lock."""
    write, said = _begin(paths, trigger), {}

    def listen(**facts: Any) -> None:
        said[facts.get("stage")] = facts.get("summary")
        write(**facts)

    try:
        yield listen
    except Exception as error:
        write(traceback=traceback.format_exc())
        write(end="failed", why=first_line(error))
        raise
    except BaseException:
        write(end="cancelled", why="interrupted")
        raise
    write(end="ok", why=said.get("retrain") or said.get("release") or "")


def record_cancelled(paths: Paths, trigger: str, why: str) -> None:
    """Record a run that was cancelled before it began."""
    _begin(paths, trigger)(end="cancelled", why=why)


def _begin(paths: Paths, trigger: str) -> Write:
    """Make the file of a new run, remove the oldest, and return what writes into it."""
    folder = _folder(paths)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(folder.glob("*.jsonl"))[: -MAX_KEPT + 1]:
        old.unlink(missing_ok=True)
    file = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl"

    def write(**facts: Any) -> None:
        shown = {name: redact(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"at": _now()} | shown, ensure_ascii=False, default=str) + "\n")
            if "end" in facts:
                stream.flush()
                os.fsync(stream.fileno())

    write(format=FORMAT, started=_now(), trigger=trigger, process=describe_process(os.getpid()))
    return write


def first_line(error: BaseException) -> str:
    """Return what an error says in one line, without secrets; the name of its type where that says more."""
    from evergreen.core.errors import UserError

    text = " ".join(str(error).split()) or type(error).__name__
    return redact(text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:500])


def read_runs(paths: Paths) -> Iterator[RunRecord]:
    """Yield the runs of a pipeline, the newest first."""
    for file in sorted(_folder(paths).glob("*.jsonl"), reverse=True):
        if record := _read(file):
            yield record


def _read(file: Path) -> RunRecord | None:
    """Read one file; None where it holds no beginning. A line that was cut off is passed over."""
    lines = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    if not lines or "started" not in lines[0]:
        return None
    first, last = lines[0], lines[-1]
    if "end" in last:
        return RunRecord(first["started"], first.get("trigger", ""), last["end"], last["why"], last["at"], tuple(lines))
    end, why = ("running", "") if is_alive(first.get("process")) else ("died", "its process ended without a word")
    return RunRecord(first["started"], first.get("trigger", ""), end, why, "", tuple(lines))


def _folder(paths: Paths) -> Path:
    return paths.home / "history" / paths.name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
