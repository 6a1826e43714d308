"""Record what a person decides about a candidate in a tag: what, who, when and why."""

import re
from collections.abc import Mapping
from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines import git_commits, git_tags
from evergreen.stages.engines.candidates import read_own_tags
from evergreen.stages.engines.registration import candidate_version, put_event, read_tags, registered

DECISIONS = "Approved|Rejected|Deployed|Promoted|Aborted|Pinned|Unpinned"
SIGNED = re.compile(rf"(?:(?P<why>.+)\n\n)?(?:[A-Z]\w*: .*\n)*(?P<what>{DECISIONS})-by: (?P<who>.+)")


def decisions(root: Path) -> dict[str, dict[str, str]]:
    """Return what a person decided last about each pipeline: what, who, when and why."""
    last = {name: [*filter(None, map(read_decision, tags.events))][-1:] for name, tags in read_own_tags(root).items()}
    return {name: found[0] for name, found in last.items() if found}


def rejection(paths: Paths) -> dict[str, str] | None:
    """Return who rejected the recorded candidate, when and why; None where nobody did."""
    return read_decision(read_tags(paths).rejection(candidate_version(paths) or ""))


def reject(paths: Paths, reason: str) -> str:
    """Tag the candidate as a version that a person rejected: nobody is asked about it again; return the version.

    Raises VersionError where it is in production.
    """
    message = sign(paths.root, "Rejected", reason)
    with registered(paths, message) as (tags, known):
        if known.version == tags.production:
            fix = f"go back to an earlier one with: evergreen rollback {paths.name}"
            raise VersionError(f"{paths.name} {known.version} is in production", fix=fix)
        if tags.rejection(known.version) is None:
            put_event(paths, "rejected", known, message)
    return known.version


def sign(root: Path, decision: str, reason: str, facts: Mapping[str, object] | None = None, who: str = "") -> str:
    """Return the message of a tag that says who decided and why; its date says when. Without `who` it is a person."""
    signed = [*(facts or {}).items(), (f"{decision}-by", who or git_commits.person(root))]
    lines = "\n".join(f"{name}: {value}" for name, value in signed)
    return "\n\n".join(filter(None, [" ".join(reason.split()), lines]))


def read_decision(event: git_tags.Event | None) -> dict[str, str] | None:
    """Return what a person decided by an event, who, when and why; None where no person did."""
    signed = SIGNED.fullmatch(event.message) if event else None
    return signed.groupdict() | {"when": event.date, "version": event.version} if signed and event else None
