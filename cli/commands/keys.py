"""`evergreen keys`: who may ask the endpoint, and how much."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import complete_pipeline
from evergreen.core.errors import PipelineError, suggest


def keys(
    action: Annotated[Literal["add", "list", "revoke"], typer.Argument(help="What to do.")] = "list",
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A name for the key: who it is for.")] = "",
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline", help="It may ask this one, and others so named; else all.", autocompletion=complete_pipeline
        ),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="In each replica.")] = None,
    rows_per_minute: Annotated[int | None, typer.Option(min=1, help="In each replica.")] = None,
) -> CommandResult:
    """Add, list or revoke API keys of the endpoint.

    With the first key, the endpoint answers nobody without one, except its health; a change counts within a second. A
    key is shown once: only its hash is stored, in .evergreen/keys.json.
    """
    from evergreen.core.paths import find_root
    from evergreen.stages.deploy import api_keys
    from evergreen.stages.pipeline import names

    root = find_root()
    if action != "list" and not name:
        raise PipelineError("a key has a name", fix=f"evergreen keys {action} NAME")
    if action == "add":
        known = names(root)
        for one in pipeline or []:
            if one not in known:
                raise PipelineError(f"there is no pipeline {one!r}", fix=suggest(one, known, "pipelines"))
        limits = {"requests_per_minute": requests_per_minute, "rows_per_minute": rows_per_minute}
        secret = api_keys.add_key(root, name, pipeline or [], **limits)
        lines = [secret, "  it is shown once; " + api_keys.SEND.replace("KEY", "…")]
        return CommandResult({"name": name, "key": secret}, "\n".join(lines))
    if action == "revoke":
        api_keys.revoke_key(root, name)
        return CommandResult({"name": name, "revoked": True}, f"{name} may not ask any more")
    entries = [{"name": one, **entry} for one, entry in sorted(api_keys.list_keys(root).items())]
    value = [{key: one for key, one in entry.items() if key != "hash"} for entry in entries]
    return CommandResult(
        {"keys": value}, "\n".join(map(_describe, value)) or "there are no keys: evergreen keys add NAME"
    )


def _describe(key: dict[str, Any]) -> str:
    limits = [
        f"{key[limit]:,} {limit.replace('_', ' ')}"
        for limit in ("requests_per_minute", "rows_per_minute")
        if limit in key
    ]
    return "  ".join(
        [key["name"], ", ".join(key["pipelines"]) or "all pipelines", *limits, f"since {key['created'][:10]}"]
    )
