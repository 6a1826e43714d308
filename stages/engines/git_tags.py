"""Read and write release tags.

Tags are annotated and follow GTO's format, so `gto show` and its API read them: `digits@v1.2.0` names a version,
`digits#production#3` says that the version at the same commit went into production as the third event.
"""

import hashlib
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.stages.engines.git_commits import author_variables, git

NAMES = re.compile(
    r"(?P<name>[^@#]+)(@(?P<version>v(?P<numbers>\d+\.\d+\.\d+)[^@#!]*)|#(?P<stage>[^@#!]+))(?P<cancel>!?)(#(?P<count>\d+))?"
)

FACT = re.compile(r"^([A-Z]\w*): (.*)$", re.MULTILINE)
ROLES = ("canary", "shadow")  # stages of a challenger: a version beside the one in production
PIN = "pin"  # the stage of a version that single callers are answered by


@dataclass(frozen=True)
class Version:
    """One registered version of a pipeline's model."""

    version: str
    commit: str
    date: str  # ISO 8601
    message: str
    production: bool = False  # whether it is in service now


@dataclass(frozen=True)
class Event:
    """A version that went into a stage, production for instance, or out of it."""

    stage: str
    version: str
    date: str  # ISO 8601
    message: str
    is_end: bool = False  # whether it went out of the stage

    @property
    def facts(self) -> dict[str, str]:
        """The lines `Name: value` of its message."""
        return dict(FACT.findall(self.message))


@dataclass(frozen=True)
class Tags:
    """The versions and events of one pipeline, as its tags say."""

    versions: tuple[Version, ...]  # oldest first
    events: tuple[Event, ...]  # oldest first
    count: int  # events so far: GTO numbers the next one count + 1
    next_version: str  # v1.0.0 first, then the highest version with its minor number raised

    @property
    def moves(self) -> tuple[Event, ...]:
        """The events of production, oldest first."""
        return tuple(event for event in self.events if event.stage == "production")

    @property
    def production_history(self) -> tuple[str, ...]:
        """The versions that went into production, oldest first; "" where it was emptied."""
        return tuple("" if event.is_end else event.version for event in self.moves)

    @property
    def production(self) -> str | None:
        """The version in production, if there is one."""
        return (self.production_history[-1] or None) if self.production_history else None

    @property
    def newest(self) -> Version | None:
        """The version that went into production last; it may be out of it again."""
        return self.find(next(filter(None, reversed(self.production_history)), ""))

    @property
    def is_retired(self) -> bool:
        """True if the last event took the pipeline out of production."""
        return bool(self.newest and not self.production)

    def rejection(self, version: str) -> Event | None:
        """Return the event by which a version was rejected or aborted, unless it was tried or released later."""
        last = next((event for event in reversed(self.events) if event.version == version and event.stage != PIN), None)
        is_abort = last is not None and last.stage in ROLES and last.is_end
        return last if last and (last.stage == "rejected" or is_abort) else None

    @property
    def challenger(self) -> Event | None:
        """The event by which a version was put beside the one in production, until it ends or any is released."""
        challenger = None
        for event in self.events:
            is_rejected = event.stage == "rejected" and challenger and challenger.version == event.version
            if event.stage in ROLES:
                challenger = None if event.is_end else event
            elif event.stage == "production" or is_rejected:
                challenger = None
        return challenger

    @property
    def pins(self) -> dict[str, Event]:
        """The events by which versions were set for single callers, by the caller's key or id."""
        pins: dict[str, Event] = {}
        for event in self.events:
            if event.stage == PIN and (key := event.facts.get("Key")):
                pins.pop(key, None)
                pins |= {} if event.is_end else {key: event}
        return pins

    def find(self, version: str) -> Version | None:
        """Return the version of that name, if there is one."""
        return next((one for one in self.versions if one.version == version), None)


def create_tag(root: Path, name: str, commit: str, message: str) -> None:
    """Create an annotated tag, a second later than the newest one at least: GTO orders events by their time."""
    name = tag_prefix(root) + name
    newest = git(root, "for-each-ref", "--sort=-creatordate", "--count=1", "--format=%(creatordate:unix)", "refs/tags")
    time_s = max(int(time.time()), int(newest.strip() or 0) + 1)
    env = author_variables(root) | {"GIT_COMMITTER_DATE": f"{time_s} +0000"}
    git(root, "tag", "--annotate", "--no-sign", "--cleanup=whitespace", "-F", "-", name, commit, text=message, env=env)


@cache
def tag_prefix(root: Path) -> str:
    """Return how the tags of a project begin that is a subfolder of its repository: "sub/", in letters that GTO allows.

    Raises VersionError where there is no repository.
    """
    folder = git(root, "rev-parse", "--show-prefix").rstrip("\n").rstrip("/")
    plain = re.sub(r"[^a-zA-Z0-9/_]+", "-", folder).lstrip("-_/")
    if plain != folder:  # another folder may have the same spelling after the replacement
        plain += "-" + hashlib.blake2b(folder.encode(), digest_size=3).hexdigest()
    return f"{plain}/" if folder else ""


def read_tags(root: Path, pipeline: str = "", foreign: Collection[tuple[str, str]] = ()) -> dict[str, Tags]:
    """Read the tags of all pipelines, or of one; {} where there is no repository.

    Those of a name at a commit in `foreign` only raise the numbers of what comes next.
    """
    try:
        prefix = tag_prefix(root)
    except VersionError as error:
        if "not a git repository" in error.problem:
            return {}
        raise
    start = f"refs/tags/{prefix}{pipeline}"
    patterns = [f"{start}@*", f"{start}#*"] if pipeline else [start.rstrip("/")]
    form = "%(refname:strip=2)%00%(*objectname)%00%(creatordate:iso-strict)%00%(contents)%01"
    answer = git(root, "for-each-ref", "--sort=creatordate", f"--format={form}", *patterns)
    events: dict[str, list[tuple[re.Match[str], Version]]] = {}
    for record in answer.split("\x01\n"):
        tag, commit, date, message = [*record.split("\0"), "", "", ""][:4]
        match = NAMES.fullmatch(tag.removeprefix(prefix))
        if match and commit and "/" not in match["name"]:  # a tag without an object of its own is not GTO's
            one = Version(match["version"] or "", commit, date, message.strip())
            events.setdefault(match["name"], []).append((match, one))
    return {
        name: _parse_tags(found, {commit for one, commit in foreign if one == name}) for name, found in events.items()
    }


def _parse_tags(events: list[tuple[re.Match[str], Version]], foreign: set[str]) -> Tags:
    count = max((_count(match) for match, _ in events), default=0)
    highest = max((one.version for _, one in events if one.version), key=_numbers, default="")
    events = [(match, one) for match, one in events if one.commit not in foreign]
    cancelled = {match["version"] for match, _ in events if match["version"] and match["cancel"]}
    versions = [
        one for match, one in events if match["version"] and not match["cancel"] and one.version not in cancelled
    ]
    versions.sort(key=lambda one: _numbers(one.version))
    at = {one.commit: one.version for one in versions}
    moves = [(match, one) for match, one in events if match["stage"] and one.commit in at]
    moves.sort(key=lambda move: _count(move[0]))
    history = tuple(
        Event(match["stage"], at[one.commit], one.date, one.message, bool(match["cancel"])) for match, one in moves
    )
    tags = Tags(tuple(versions), history, count, next_version(highest))
    marked = tuple(replace(one, production=one.version == tags.production) for one in versions)
    return replace(tags, versions=marked)


def _count(match: re.Match[str]) -> int:
    return int(match["count"] or 0)


def _numbers(version: str) -> tuple[int, ...]:
    match = NAMES.fullmatch(f"x@{version}")
    return tuple(int(number) for number in match["numbers"].split(".")) if match else ()


def next_version(highest: str) -> str:
    """Return the version after this one, its minor number one up; v1.0.0 where there is none."""
    if not highest:
        return "v1.0.0"
    major, minor, _ = _numbers(highest)
    return f"v{major}.{minor + 1}.0"
