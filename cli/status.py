"""`evergreen status`: what is stale, released and served."""

from typing import Any

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import AnyPipelineName


def status(name: AnyPipelineName = "") -> CommandResult:
    """Show what is stale and why, the scores, released and served."""
    from evergreen.core.paths import find_root
    from evergreen.flows.overview import describe_project

    value = describe_project(find_root(), name)
    retired = f"retired   {', '.join(value['retired'])}; evergreen rollback NAME VERSION brings one back"
    engines = [
        *([retired] if value["retired"] else []),
        f"endpoint  {value['endpoint'] or 'down; evergreen serve'}",
        f"runs      {value['runs']}; its key: .evergreen/prefect.key" if value["runs"] else "runs      Prefect is down",
    ]
    return CommandResult(value, "\n".join([*map(_format_pipeline, value["pipelines"]), *engines]))


def format_decision(decision: dict[str, str] | None) -> str:
    """Say on one line what a person decided, who, when and why; "" for none."""
    if not decision:
        return ""
    why = f": {decision['why']}" if decision["why"] else ""
    return f"{decision['what'].lower()} {decision['version']} by {decision['who']}, {decision['when'][:16]}{why}"


def _format_pipeline(pipeline: dict[str, Any]) -> str:
    from evergreen.flows.approval import ask_for_word

    if "mistake" in pipeline:
        return f"{pipeline['name']}\n  mistake   {pipeline['mistake']}"
    stale = "; ".join(f"{stage} ({reason})" for stage, reason in pipeline["stale"].items())
    shown = {
        "stale": stale or "nothing",
        "scores": pipeline["scores"],
        "verdict": pipeline["verdict"],
        "waits": ask_for_word(pipeline["name"], pipeline["case"]) if pipeline["waits"] else None,
        "decided": format_decision(pipeline["decision"]),
        "released": pipeline["released"] or "nothing",
        "served": pipeline["served"],
        "next run": pipeline["next"],
    }
    return "\n".join([pipeline["name"], *(f"  {label:<10}{item}" for label, item in shown.items() if item)])
