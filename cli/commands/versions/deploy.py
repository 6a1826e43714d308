"""`evergreen deploy`: put a version beside the one in production."""

import re
from typing import Annotated

import typer

from evergreen.cli.commands.versions.approve import Reason
from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName, open_pipeline
from evergreen.core.errors import PipelineError

SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%", re.ASCII)
MAX_KEY = 200  # characters


def deploy(
    name: PipelineName,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Default: the candidate.")] = None,
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="SHARE", help="It answers this share of callers: 10%.")
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="It gets all requests, and nobody its answers.")] = False,
    pin: Annotated[
        str | None, typer.Option("--pin", metavar="KEY=VERSION", help="This caller gets this version; KEY= ends that.")
    ] = None,
    reason: Reason = "",
) -> CommandResult:
    """Put a version beside the one in production.

    As canary it answers some callers, as shadow none. It runs in a process of its own, and what it cannot answer, the
    version in production does. `evergreen promote` puts it into production, `evergreen abort` ends it.
    """
    from evergreen.core.progress import console_progress
    from evergreen.flows import challenge

    if [canary is not None, shadow, pin is not None].count(True) != 1 or (pin is not None and version):
        fix = f"evergreen deploy {name} VERSION --canary 10%, --shadow, or: deploy {name} --pin KEY=VERSION"
        raise PipelineError("say one of --canary, --shadow and --pin", fix=fix)
    share = read_share(canary) if canary is not None else 0.0
    pipeline, paths = open_pipeline(name)
    with console_progress() as progress:
        if pin is not None:
            key, _, pinned = pin.rpartition("=")
            if not key.isprintable() or not key.strip() or len(key) > MAX_KEY:
                raise PipelineError(
                    f"--pin {pin[:80]!r} names no caller", fix="--pin KEY=VERSION, a key's name or an id"
                )
            value = challenge.pin(paths, key, pinned, reason, progress)
            text = f"{key} is answered by {pinned}" if pinned else f"{key} is not pinned any more"
            return CommandResult({"pipeline": name, "key": key, "version": pinned, **value}, text)
        role = "shadow" if shadow else "canary"
        value = challenge.begin(pipeline, paths, version, role, share, reason, progress)
    who = f"answers {share * 100:g}% of callers" if share else "gets all requests, and nobody its answers"
    lines = [f"{name} {value['version']} {who}", f"  evergreen promote {name}, or evergreen abort {name}, ends that"]
    return CommandResult({"pipeline": name, "role": role, "share": share, **value}, "\n".join(lines))


def read_share(text: str) -> float:
    """Return 0.1 for "10%". Raises PipelineError for what is no share between 0 and 100%."""
    match = SHARE.fullmatch(text)
    share = float(match[1]) / 100 if match else 0.0
    if not 0 < share <= 1:
        raise PipelineError(f"{text[:80]!r} is no share of callers", place="--canary", fix="give percent: 10%")
    return share
