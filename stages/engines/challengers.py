"""Put a version beside the one in production, for some callers or as a shadow, and record each step in a tag.

A pipeline has one challenger at most, as canary or as shadow. It ends where it is promoted or aborted, and where any
version is released, since then what it is compared with is gone. Pins stay until they are taken back.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines.candidates import read_own_tags
from evergreen.stages.engines.decisions import sign
from evergreen.stages.engines.git_tags import Event, Tags, Version
from evergreen.stages.engines.registration import named_version, put_event, read_tags, registered, release_lock

SHARE = re.compile(r"0(\.\d+)?|1", re.ASCII)


@dataclass(frozen=True)
class Rollout:
    """The versions beside the one in production."""

    version: str = ""  # the challenger; "" where there is none
    role: str = ""  # canary or shadow
    share: float = 0.0  # of callers who are answered by the canary
    since: str = ""  # ISO 8601
    pins: dict[str, str] = field(default_factory=dict)  # the key or id of a caller → version


def rollouts(root: Path) -> dict[str, Rollout]:
    """Return what is beside the version in production of each pipeline that has one, as the tags say."""
    tags = {name: one for name, one in read_own_tags(root).items() if one.production}
    return {name: rollout for name, one in tags.items() if (rollout := read_rollout(one)) != Rollout()}


def read_rollout(tags: Tags) -> Rollout:
    """Return what is beside the version in production of one pipeline."""
    event, pins = tags.challenger, {key: one.version for key, one in tags.pins.items()}
    if event is None:
        return Rollout(pins=pins)
    share = SHARE.fullmatch(event.facts.get("Share", ""))  # a tag may be made by other hands
    return Rollout(event.version, event.stage, float(share[0]) if share else 0.0, event.date, pins)


def start(paths: Paths, version: str | None, role: str, share: float = 0.0, reason: str = "") -> str:
    """Make a version the challenger, by default the recorded candidate; return its name.

    Raises VersionError where it is in production or there is no such version, or no other one is in production.
    """
    message = sign(paths.root, "Deployed", reason, {"Share": f"{share:g}"} if share else None)
    with _found(paths, version, message) as (tags, found):
        if found.version == tags.production:
            raise VersionError(f"{paths.name} {found.version} is in production", fix="name another version")
        put_event(paths, role, found, message)
    return found.version


def pin(paths: Paths, key: str, version: str, reason: str = "") -> None:
    """Let a caller always be answered by one version, whatever is released; "" takes that back.

    Raises VersionError where there is no such version or pin.
    """
    with release_lock(paths):
        tags = read_tags(paths)
        name = version or getattr(tags.pins.get(key), "version", "")
        if not name:
            raise VersionError(f"{key!r} is not pinned", fix=f"pinned: {', '.join(tags.pins) or 'nobody'}")
        message = sign(paths.root, "Pinned" if version else "Unpinned", reason, {"Key": key})
        put_event(paths, "pin" if version else "pin!", named_version(paths, tags, name), message)


def promote(paths: Paths, reason: str = "", who: str = "", since: str = "") -> str:
    """Put the challenger into production; return its version. `since` names one that must still be it.

    Raises VersionError where there is none.
    """
    with _challenger(paths, since) as (tags, event):
        found = named_version(paths, tags, event.version)
        put_event(paths, "production", found, sign(paths.root, "Promoted", reason, who=who))
    return event.version


def abort(paths: Paths, reason: str = "", who: str = "", since: str = "") -> str:
    """End the challenger, which no verdict releases any more; return its version. Raises as `promote`."""
    with _challenger(paths, since) as (tags, event):
        message = sign(paths.root, "Aborted", reason, who=who)
        put_event(paths, f"{event.stage}!", named_version(paths, tags, event.version), message)
    return event.version


@contextmanager
def _found(paths: Paths, version: str | None, message: str) -> Iterator[tuple[Tags, Version]]:
    """Yield the tags and a version of this name, or that of the recorded candidate, with the release lock held."""
    if not read_tags(paths).production:
        fix = f"release one with: evergreen run {paths.name}"
        raise VersionError(f"nothing of {paths.name} is in production", fix=fix)
    if version is None:
        with registered(paths, message) as (tags, known):
            yield tags, known
    else:
        with release_lock(paths):
            tags = read_tags(paths)
            yield tags, named_version(paths, tags, version)


@contextmanager
def _challenger(paths: Paths, since: str) -> Iterator[tuple[Tags, Event]]:
    with release_lock(paths):
        tags = read_tags(paths)
        if tags.challenger is None or since not in ("", tags.challenger.date):
            fix = f"make one with: evergreen deploy {paths.name} VERSION --canary 10%"
            raise VersionError(f"{paths.name} has no challenger", fix=fix)
        yield tags, tags.challenger
