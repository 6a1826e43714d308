"""`evergreen run`: bring a pipeline up to date, and show that what is released answers."""

import json
from typing import Annotated, Any

import typer

from evergreen.cli.commands.status import format_decision
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def run(
    name: PipelineName,
    baseline_only: Annotated[
        bool,
        typer.Option(
            "--baseline-only", help="Compare with the baseline alone, not with what is released; release nothing."
        ),
    ] = False,
) -> CommandResult:
    """Bring a pipeline up to date; release and serve it if better.

    The candidate is compared with the released version, so the bytes of that are fetched first. Where they are nowhere,
    `--baseline-only` goes on without them; the next run without it compares again.
    """
    from evergreen.core.paths import find_root
    from evergreen.core.progress import console_progress
    from evergreen.flows.update import update

    with console_progress() as progress:
        value = update(find_root(), name, progress, baseline_only=baseline_only)
    return CommandResult(value, format_run(value))


def format_run(value: dict[str, Any]) -> str:
    """Format the result of a run, a line for each thing that a person may want next."""
    from evergreen.flows.approval import ask_for_word

    name, version = value["pipeline"], value["version"]
    state = f"{name} {version} is released" if version else f"{name} is not released: {value['why']}"
    lines = [f"{state}{'' if value['ran'] else '; nothing is stale'}"]
    shown = {
        "note": _candidate_note(value),
        "waits": ask_for_word(name, value["case"]) if value["waits"] else None,
        "decided": format_decision(value.get("rejected")),
        "answer": format_prediction(value["answer"]["predictions"][0]) if "answer" in value else None,
        "scores": value["scores"],
        "report": value["report"],
        "data": value["data"],
        "runs": value["runs"] and f"{value['runs']} (Prefect; its key: .evergreen/prefect.key)",
        "docs": f"{value['url']}/docs" if "url" in value else None,
        "ask it": value.get("curl"),
        "stop": "evergreen stop",
    }
    return "\n".join(lines + [f"  {label:<8}{item}" for label, item in shown.items() if item])


def _candidate_note(value: dict[str, Any]) -> str | None:
    """Say where the scores are not those of the version in service."""
    candidate = value["candidate"]
    if not value["version"] or candidate == value["version"]:
        return None
    scored = f"{candidate}, which is not in service" if candidate else "a candidate that is not released"
    return f"scores and report are of {scored}: {value['why']}"


def format_prediction(prediction: dict[str, Any]) -> str:
    """Format a prediction on one line: 3 (99.8% sure)."""
    probabilities = prediction.get("probabilities")
    sure = f" ({max(probabilities.values()):.1%} sure)" if probabilities else ""
    return f"{json.dumps(_shorten(prediction['prediction']), ensure_ascii=False)}{sure}, for the first test row"


def _shorten(value: Any) -> Any:
    """Keep six digits of a number and the first dozen items of a list, enough for a screen."""
    if isinstance(value, list):
        return [_shorten(item) for item in value[:12]] + (["…"] if len(value) > 12 else [])
    return float(f"{value:.6g}") if isinstance(value, float) else value
