"""Tell people what happened: one message an event, through Apprise, grouped and throttled.

What is to be told lies in `.evergreen/notifications.json` until it was sent, so a server that does not answer loses
nothing; the next run, `evergreen watch` and `evergreen notify` send it. A message that cannot be sent fails no run.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen.core import processes
from evergreen.core.addresses import fill
from evergreen.core.durations import DAY, HOUR, parse_duration
from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import make_private, read_json, write_json
from evergreen.core.redaction import redact
from evergreen.core.yaml_file import YamlFile
from evergreen.stages.operation import EventName, NotifyConfig, Operation
from evergreen.stages.pipeline import names, read

FORMAT = 1
FILE = "notify.yaml"  # of the project: who hears of pipelines that name nobody themselves
MAX_AGE_S = 3 * DAY  # of an event that waits for a server that takes no message
MAX_WAITING = 1000  # events that wait to be sent
LOCK_SECONDS = 10.0
TYPES = {
    "failed": "failure",
    "overdue": "failure",
    "waiting": "warning",
    "timed out": "warning",
    "rolled back": "warning",
    "drift": "warning",
}  # else success


@dataclass(frozen=True)
class Event:
    """Something that happened to a pipeline and that somebody wants to hear of."""

    pipeline: str
    name: EventName
    text: str  # what happened, in a sentence
    key: str = ""  # what makes it another event than the one before of its name


def read_config(root: Path, operation: Operation) -> NotifyConfig | None:
    """Return who hears of a pipeline: whom its YAML names, else the project's `notify.yaml`; None for nobody."""
    return operation.notify or read_project_config(root)


def read_project_config(root: Path) -> NotifyConfig | None:
    """Read the project's `notify.yaml`; None where there is none. Raises PipelineError for a mistake in it."""
    file = root / FILE
    return YamlFile(file, FILE, "to: [mailto://…]").section(NotifyConfig) if file.exists() else None


def list_addresses(root: Path) -> list[str]:
    """Return each address that the project or one of its pipelines names. Raises PipelineError for a mistake."""
    configs = [read_project_config(root), *(read(name, root).operation.notify for name in names(root))]
    return list(dict.fromkeys(address for config in configs if config for address in config.to))


def notify(root: Path, config: NotifyConfig | None, events: Sequence[Event]) -> list[str]:
    """Send events that are new and those that wait; return what went wrong, a line each."""
    if config:
        for address in config.to:
            with suppress(UserError):  # told when it is sent
                fill(address)  # its secrets are known from here on, and stored nowhere
        with _state(root) as state:
            for event in events:
                if event.name in config.events and _is_news(state, event, config):
                    state["waiting"] += [_entry(event, address, config) for address in config.to]
            if dropped := state["waiting"][:-MAX_WAITING]:
                del state["waiting"][: len(dropped)]
    return flush(root)


def forget(root: Path, pipeline: str, *names: EventName) -> None:
    """Forget that events were told, so that their like are told again; where none was, write nothing."""
    if _file(root).exists():
        with _state(root) as state:
            for name in names:
                state["told"].pop(f"{pipeline} {name}", None)


def flush(root: Path) -> list[str]:
    """Send what waits, as one message an address, unless it had its share this hour; return what went wrong."""
    if not _file(root).exists():
        return []
    problems = []
    try:
        with processes.exclusive_lock(root / ".evergreen" / "locks" / "notify", "messages are being sent"):
            with _state(root) as state:
                addresses = dict.fromkeys(entry["to"] for entry in state["waiting"])
            for address in addresses:
                problems += _send_waiting(root, address)
    except PipelineError:  # another process sends: what was added since waits for the next one
        return []
    return problems


def _send_waiting(root: Path, address: str) -> list[str]:
    with _state(root) as state:
        now = time.time()
        sent = [at for at in state["sent"].get(address, []) if now - HOUR < at <= now]
        entries = [entry for entry in state["waiting"] if entry["to"] == address]
    if not entries or len(sent) >= entries[0]["max_per_hour"]:
        return []
    problem = send(address, *_compose(root, entries))
    with _state(root) as state:
        left = [entry for entry in state["waiting"] if entry not in entries]
        state["waiting"] = left + [entry for entry in entries if problem and now - entry["since"] < MAX_AGE_S]
        state["sent"][address] = sent if problem else [*sent, now]
    return [problem] if problem else []


def _compose(root: Path, entries: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """Return title, text and type of the message about some events."""
    heads = [f"{entry['pipeline']} {entry['event']}" for entry in entries]
    title = heads[0] if len(heads) == 1 else f"{len(heads)} events: {', '.join(heads[:3])}{', …' * (len(heads) > 3)}"
    lines = [f"{entry['pipeline']} ({entry['event']}, {entry['at']}): {entry['text']}" for entry in entries]
    kinds = {TYPES.get(entry["event"], "success") for entry in entries}
    kind = next(one for one in ("failure", "warning", "success") if one in kinds)
    return f"Evergreen: {title}", "\n".join([*lines, f"project: {root}"]), kind


def send(address: str, title: str, text: str, kind: str = "info") -> str:
    """Send one message to one address; return what went wrong in one line, without secrets, or ""."""
    import apprise

    log = logging.getLogger("apprise")
    log.propagate = False  # its lines may hold the address
    try:
        service = apprise.Apprise.instantiate(fill(address))
        with apprise.LogCapture(level=logging.WARNING) as captured:
            if service is None:
                return f"{redact(address)} is no address that Apprise knows"
            if service.notify(body=redact(text), title=redact(title), notify_type=apprise.NotifyType(kind)):
                return ""
            words = [line.partition(" - ")[2] or line for line in captured.getvalue().splitlines()]
    except UserError as error:
        return f"no message was sent: {error}"
    return redact(f"{address} took no message: {'; '.join(words[:2]) or 'Apprise does not say why'}")


def _is_news(state: dict[str, Any], event: Event, config: NotifyConfig) -> bool:
    """Remember an event; tell whether it was not told already, or long enough ago."""
    now, place = time.time(), f"{event.pipeline} {event.name}"
    told = state["told"].get(place)
    repeat_s = parse_duration(config.repeat_after or "1d") / 1e6
    if told and told["key"] == event.key and now - told["at"] < (repeat_s if event.name == "failed" else float("inf")):
        return False
    state["told"][place] = {"key": event.key, "at": now}
    return True


def _entry(event: Event, address: str, config: NotifyConfig) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime())
    facts = {"pipeline": event.pipeline, "event": event.name, "text": redact(event.text), "at": at}
    return facts | {"to": address, "since": time.time(), "max_per_hour": config.max_per_hour}


@contextmanager
def _state(root: Path) -> Iterator[dict[str, Any]]:
    """Yield what was told, what waits and when was sent to whom; write it back where the block changed it."""
    file = _file(root)
    make_private(file.parent)
    with processes.exclusive_lock(file.with_suffix(".lock"), "notifications are in use", timeout_s=LOCK_SECONDS):
        state: dict[str, Any] = {"told": {}, "waiting": [], "sent": {}}
        try:
            state |= read_json(file, "told", "waiting", "sent") if file.exists() else {}
        except PipelineError:  # broken: begin anew
            file.unlink(missing_ok=True)
        before = repr(state)
        yield state
        if repr(state) != before:
            write_json(file, {"format": FORMAT, **state})


def _file(root: Path) -> Path:
    return root / ".evergreen" / "notifications.json"
