"""Put a version beside the one in production, and end that: a tag first, then the endpoint follows the tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError, UserError
from evergreen.core.files import read_json
from evergreen.core.progress import Progress, no_progress
from evergreen.flows.notifications import Event
from evergreen.flows.run_events import recorded_run, tell
from evergreen.flows.serving import deploy_released, served_versions
from evergreen.stages.engines import challengers, versions
from evergreen.stages.engines.challengers import Rollout
from evergreen.stages.operation import CanaryConfig

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.pipeline import Pipeline


def begin(
    pipeline: Pipeline,
    paths: Paths,
    version: str | None,
    role: str,
    share: float = 0.0,
    reason: str = "",
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Make a version the challenger, by default the candidate, once it has answered its example in a process.

    Raises:
        PipelineError: it cannot be loaded within its memory, or does not answer.
    """
    folder = versions.checkout(paths, version) if version else paths.candidate
    with recorded_run(paths, "deploy"):
        progress(stage="deploy", tries=version or "the candidate")
        check_answers(pipeline, paths, version or "the candidate", folder, role)
        version = challengers.start(paths, version, role, share, reason)
        return {"version": version, **deploy_released(paths.root, progress, paths.name)}


def check_answers(pipeline: Pipeline, paths: Paths, version: str, folder: Path, role: str) -> None:
    """Raise PipelineError where a version does not answer in a process with the memory that it may take."""
    from evergreen.stages.deploy import stage as deploy

    canary = pipeline.operation.canary or CanaryConfig()
    facts: dict[str, Any] = {"version": version, "role": role, "share": 0.0, "pins": {}}
    facts["versions"] = [{"version": version, "path": str(folder)}]
    facts |= {"max_bytes": canary.max_bytes, "max_seconds": canary.max_seconds}
    if problem := deploy.try_beside(paths.root, paths.name, facts, pipeline.deploy):
        fix = f"nothing was changed; the memory that it may take is canary.max_bytes, {canary.max_bytes:,}"
        raise PipelineError(f"it cannot answer: {problem}", place=f"{paths.name} {version}", fix=fix)


def pin(paths: Paths, key: str, version: str, reason: str = "", progress: Progress = no_progress) -> dict[str, Any]:
    """Let a caller always be answered by one version, "" for whichever its turn is; serve that."""
    with recorded_run(paths, "deploy"):
        challengers.pin(paths, key, version, reason)
        return deploy_released(paths.root, progress, paths.name)


def promote(
    paths: Paths, reason: str = "", progress: Progress = no_progress, who: str = "", since: str = ""
) -> dict[str, Any]:
    """Put the challenger into production and serve it; `who` decides, by default a person."""
    with recorded_run(paths, "promote"):
        version = challengers.promote(paths, reason, who, since)
        return {"version": version, **deploy_released(paths.root, progress, paths.name)}


def abort(
    paths: Paths, reason: str = "", progress: Progress = no_progress, who: str = "", since: str = ""
) -> dict[str, Any]:
    """End the challenger; the version in production answers all."""
    with recorded_run(paths, "abort"):
        version = challengers.abort(paths, reason, who, since)
        stays = versions.released(paths.root)[paths.name]
        served = deploy_released(paths.root, progress, paths.name) if served_versions(paths.root) else {}
        text = f"{version} was aborted, {stays} stays in service" + f": {reason}" * bool(reason)
        tell(paths, lambda: [Event(paths.name, "rolled back", text, f"{version} {since}")])
    return {"version": version, "production": stays, **served}


def evidence_file(paths: Paths) -> Path:
    """Return where the newest decision about a pipeline's canary lies."""
    return paths.home / "canary" / f"{paths.name}.json"


def ask_for_word(name: str, why: str) -> str:
    """Say that a version beside the one in production waits, why, and how it is decided about."""
    return f"for your word ({why}): evergreen promote {name}, or evergreen abort {name} --reason …"


def read_decision(paths: Paths, rollout: Rollout) -> dict[str, Any] | None:
    """Return the newest decision about this canary; None where nothing looked at it yet."""
    try:
        found = read_json(evidence_file(paths), "version", "since", "verdict", "why", "streams")
    except UserError:
        return None
    return found if (found["version"], found["since"]) == (rollout.version, rollout.since) else None
