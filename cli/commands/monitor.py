"""`evergreen monitor`: what the released version is asked and answers, compared with what it was made from."""

from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline


def monitor(
    name: PipelineName,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> CommandResult:
    """Say what moved in the requests, and how good answers are.

    It reads the log from where it stood, in windows of as many rows as `monitor: {window: …}` says, and draws a page.
    """
    from evergreen.flows.monitoring import look
    from evergreen.stages.monitor.stage import PAGE

    pipeline, paths = open_pipeline(name)
    findings = look(pipeline, paths)
    page = paths.monitor / PAGE
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())
    value = {key: findings.get(key) for key in ("latest", "unfinished", "versions")}
    lines = [*describe_findings(findings), f"page: {page.relative_to(paths.root)}"]
    return CommandResult({"pipeline": name, **value, "page": str(page)}, "\n".join(lines))


def describe_findings(findings: dict[str, Any]) -> list[str]:
    """Say in lines what the newest window showed."""
    from evergreen.flows.format import format_monitored

    waiting = [f"{rows:,} rows of {version}" for version, rows in findings["unfinished"].items()]
    lines = [f"{', '.join(waiting)} wait for a window of {findings['window']:,}"] if waiting else []
    if "statuses" in findings:
        ends = [f"{count:,} {end}" for end, count in findings["statuses"]["newest"].items() if count]
        lines.append(f"requests since the look before: {', '.join(ends) or 'none'}")
    latest = findings["latest"]
    if latest is None:
        return lines or ["no requests are logged yet; the endpoint logs them as it answers"]
    lines += [f"{version} is compared with nothing: {one['problem']}"
              for version, one in findings["versions"].items() if one["problem"]]  # fmt: skip
    lines.append(f"{latest['version']}, {latest['first'][:16]} to {latest['last'][:16]}:")
    lines += [f"  moved: {text}" for text in (*latest["slices_moved"], *latest["moved"])] or ["  nothing moved"]
    return lines + [f"  {text}" for text in (format_monitored(latest), latest["rule"] or latest["assumes"]) if text]
