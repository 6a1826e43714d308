"""`evergreen status`: what needs a person, what is stale, released and served."""

import time
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import AnyPipelineName

CLEAR = "\x1b[2J\x1b[H"
REFRESH_SECONDS = 5


def status(
    name: AnyPipelineName = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every 5 seconds, until Ctrl-C.")] = False,
) -> CommandResult:
    """Show each pipeline's state, those with a problem first.

    With a name, show all that is known of that pipeline: what is stale and why, the scores, who decided.
    """
    from evergreen.core.paths import find_root
    from evergreen.flows.overview import describe_project

    root = find_root()
    while watch:
        print(f"{CLEAR}{_format(describe_project(root, name), name)}", flush=True)
        time.sleep(REFRESH_SECONDS)
    value = describe_project(root, name)
    return CommandResult(value, _format(value, name))


def _format(value: dict[str, Any], name: str) -> str:
    pipelines = value["pipelines"]
    retired = f"retired   {', '.join(value['retired'])}; evergreen rollback NAME VERSION brings one back"
    engines = [
        *([retired] if value["retired"] else []),
        f"endpoint  {value['endpoint'] or 'down; evergreen serve'}",
        f"runs      {value['runs']}; its key: .evergreen/prefect.key" if value["runs"] else "runs      Prefect is down",
        "watch     " + (f"process {value['watch']}" if value["watch"] else "down, so nothing runs by schedule"),
    ]
    return "\n".join([*(map(_format_details, pipelines) if name else _format_lines(pipelines)), *engines])


def _format_lines(pipelines: list[dict[str, Any]]) -> list[str]:
    """Format one line a pipeline: name, state, version with its age, last run, next run, requests, the problem."""
    rows = [[one["name"], one["state"], *_format_facts(one), one["problem"]] for one in pipelines]
    table = [["pipeline", "state", "version", "last run", "next run", "requests", ""], *rows] if rows else []
    widths = [max(len(row[place]) for row in table) for place in range(6)] if table else []
    return ["  ".join([*map(str.ljust, row, widths), row[6]]).rstrip() for row in table]


def _format_facts(pipeline: dict[str, Any]) -> list[str]:
    from evergreen.flows.format import format_age, format_challenger

    if "mistake" in pipeline:
        return [""] * 4
    version, last = pipeline["released"], pipeline["last_run"]
    age = f"{version}, {format_age(pipeline['since'])}" if version else "none"
    age = ", ".join(filter(None, [age, format_challenger(pipeline["rollout"])]))
    ended = f"{last['end']}, {format_age(last['started'])} ago" if last else "none"
    return [age, ended, pipeline["next"] or "", _format_requests(pipeline["requests"])]


def _format_requests(latest: dict[str, Any] | None) -> str:
    """Say whether a column moved, and how good the answers are, in few words: "2 moved, accuracy 0.94 estimated"."""
    from evergreen.flows.format import format_monitored

    if latest is None:
        return ""
    others = "another rule" if latest["rule"] else "a slice is worse" if latest.get("slices_moved") else "like before"
    moved = f"{latest['n_moved']} moved" if latest["moved"] else others
    rate = latest.get("rows_a_day")
    return ", ".join(filter(None, [moved, format_monitored(latest), f"{rate:,} rows a day" if rate else ""]))


def _format_details(pipeline: dict[str, Any]) -> str:
    from evergreen.flows.approval import ask_for_word
    from evergreen.flows.format import format_challenger

    if "mistake" in pipeline:
        return f"{pipeline['name']}\n  mistake   {pipeline['mistake']}"
    stale, last = "; ".join(f"{stage} ({reason})" for stage, reason in pipeline["stale"].items()), pipeline["last_run"]
    rollout, moved = pipeline["rollout"] or {"version": "", "pins": {}}, pipeline["requests"] or {}
    shown = {
        "problem": pipeline["problem"] if pipeline["state"] in ("failed", "overdue") else None,
        "stale": stale or "nothing",
        "scores": pipeline["scores"],
        "verdict": pipeline["verdict"],
        "waits": ask_for_word(pipeline["name"], pipeline["case"]) if pipeline["waits"] else None,
        "decided": format_decision(pipeline["decision"]),
        "released": f"{pipeline['released']}, since {pipeline['since'][:16]}" if pipeline["released"] else "nothing",
        "beside": f"{format_challenger(rollout)}, since {rollout['since'][:16]}" if rollout["version"] else None,
        "evidence": (rollout.get("decision") or {}).get("why"),
        "pinned": ", ".join(f"{key} {version}" for key, version in rollout["pins"].items()),
        "served": pipeline["served"],
        "engine": pipeline["engine"],
        "last run": f"{last['end']}, {last['started'][:16]}, {last['trigger']}" if last else "none",
        "next run": pipeline["next"],
        "requests": _format_requests(pipeline["requests"]),
        "disk": f"{pipeline['bytes'] / 1e6:,.1f} MB below .evergreen" if pipeline.get("bytes") else None,
        "moved": "; ".join([*moved.get("slices_moved", []), *moved.get("moved", [])]),
    }
    return "\n".join([pipeline["name"], *(f"  {label:<10}{item}" for label, item in shown.items() if item)])


def format_decision(decision: dict[str, str] | None) -> str:
    """Say on one line what a person decided, who, when and why; "" for none."""
    if not decision:
        return ""
    why = f": {decision['why']}" if decision["why"] else ""
    return f"{decision['what'].lower()} {decision['version']} by {decision['who']}, {decision['when'][:16]}{why}"
