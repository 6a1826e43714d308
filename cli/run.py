"""`evergreen run`: brings a pipeline up to date, and shows that what is released answers."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from evergreen.cli.output import Answer
from evergreen.core.paths import find_root
from evergreen.core.progress import console_progress
from evergreen.flows.update import update


def run(given: Namespace) -> Answer:
    """Brings one pipeline up to date."""
    with console_progress() as progress:
        value = update(find_root(), given.name, progress)
    return Answer(value, text(value))


def text(value: dict[str, Any]) -> str:
    name, version = value["pipeline"], value["version"]
    state = f"{name} {version} is released" if version else f"{name} is not released: {value['why']}"
    lines = [f"{state}{'' if value['ran'] else '; nothing is stale'}"]
    shown = {
        "note": _apart(value),
        "answer": brief(value["answer"]["predictions"][0]) if "answer" in value else None,
        "scores": value["scores"],
        "report": value["report"],
        "data": value["data"],
        "runs": value["runs"] and f"{value['runs']} (Prefect)",
        "docs": f"{value['url']}/docs" if "url" in value else None,
        "ask it": value.get("curl"),
        "stop": "evergreen stop, or: make stop",
    }
    return "\n".join(lines + [f"  {label:<8}{item}" for label, item in shown.items() if item])


def _apart(value: dict[str, Any]) -> str | None:
    """What a person must know where the scores are not those of the version in service."""
    if not value["version"] or value["candidate"] == value["version"]:
        return None
    what = (
        f"{value['candidate']}, which is not in service" if value["candidate"] else "a candidate that is not released"
    )
    return f"scores and report are of {what}: {value['why']}"


def brief(answer: dict[str, Any]) -> str:
    """An answer on one line: 3 (99.8% sure)."""
    chances = answer.get("probabilities")
    sure = f" ({max(chances.values()):.1%} sure)" if chances else ""
    return f"{json.dumps(_short(answer['prediction']), ensure_ascii=False)}{sure}, to the first test row"


def _short(value: Any) -> Any:
    """Numbers with six digits and the first dozen of a list, enough for a screen."""
    if isinstance(value, list):
        return [_short(one) for one in value[:12]] + (["…"] if len(value) > 12 else [])
    return float(f"{value:.6g}") if isinstance(value, float) else value
