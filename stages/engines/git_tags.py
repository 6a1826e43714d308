"""Read and write release tags, and commit files without touching the person's own work.

Tags are annotated and follow GTO's format, so `gto show` and its API read them: `digits@v1.2.0` names a version,
`digits#production#3` says that the version at the same commit went into production as the third event.
"""

import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evergreen.core.errors import VersionError

NAMES = re.compile(
    r"(?P<name>[^@#]+)(@(?P<version>v(?P<numbers>\d+\.\d+\.\d+)[^@#!]*)|#(?P<stage>[^@#!]+))(?P<cancel>!?)(#(?P<count>\d+))?"
)
OWN_IDENTITY = {"NAME": "Evergreen", "EMAIL": "evergreen@localhost"}
REPOSITORY_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
)  # set while a git hook runs, of whatever repository
NO_COMMIT = "0" * 40


@dataclass(frozen=True)
class Version:
    """One registered version of a pipeline's model."""

    version: str
    commit: str
    date: str  # ISO 8601
    message: str
    production: bool = False  # whether it is in service now


@dataclass(frozen=True)
class Tags:
    """The versions and production events of one pipeline, as its tags say."""

    versions: tuple[Version, ...]  # oldest first
    production_history: tuple[str, ...]  # the versions that went into production; "" where it was emptied
    count: int  # events so far: GTO numbers the next one count + 1
    next_version: str  # v1.0.0 first, then the highest version with its minor number raised

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

    def find(self, version: str) -> Version | None:
        """Return the version of that name, if there is one."""
        return next((one for one in self.versions if one.version == version), None)


def git(root: Path, *arguments: str, text: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run git and return its output. Raises VersionError with git's own words when it refuses."""
    clean = {key: value for key, value in os.environ.items() if key not in REPOSITORY_VARIABLES}
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            input=text,
            env=clean | (env or {}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise VersionError("git is not installed", place="git", fix="install git") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        fix = "run `git init` in it" if "not a git repository" in words else ""
        raise VersionError(f"git {arguments[0]}: {words}", place=str(root), fix=fix)
    return done.stdout


def _try_git(root: Path, *arguments: str) -> str | None:
    """Run git and return its output, None where it refuses."""
    try:
        return git(root, *arguments)
    except VersionError:
        return None


def head(root: Path) -> str | None:
    """Return the current commit; None before the first one."""
    return (_try_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or "").strip() or None


def content(root: Path, commit: str, path: str) -> str | None:
    """Return a file's text at a commit, None where it is not there."""
    return _try_git(root, "show", f"{commit}:./{path}")


def changed(root: Path, *places: str) -> list[str]:
    """Return the files at these places that git does not have as they are now."""
    return [line[3:] for line in git(root, "status", "--porcelain", "--", *places).splitlines()]


def _identity(root: Path) -> dict[str, str]:
    """Return the variables that name the author: none where git knows the person, else our own name."""
    names: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        if _try_git(root, "-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT") is None:
            names |= {f"GIT_{role}_{key}": value for key, value in OWN_IDENTITY.items()}
    return names


def commit_texts(root: Path, texts: dict[str, str], message: str) -> str:
    """Commit these files with these texts on top of HEAD, nothing else; return the commit, HEAD when nothing changed.

    It builds the commit beside the person's index, and then tells that index about these files alone. Hooks do not run.
    """
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    blobs = {
        prefix + path: git(root, "hash-object", "-w", "--stdin", "--path", path, text=text).strip()
        for path, text in texts.items()
    }
    entries = [word for path, blob in blobs.items() for word in ("--cacheinfo", f"100644,{blob},{path}")]
    for attempt in range(3):
        old = head(root)
        new = _tree_commit(root, old, entries, message)
        if new == old:
            break
        try:
            git(root, "update-ref", "--create-reflog", "-m", message.splitlines()[0], "HEAD", new, old or NO_COMMIT)
            break
        except VersionError:  # somebody committed in between: build on that
            if attempt == 2:
                raise
    _update_index(root, entries)
    return new


def _tree_commit(root: Path, parent: str | None, entries: list[str], message: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if parent:
            git(root, "read-tree", parent, env=env)
        git(root, "update-index", "--add", *entries, env=env)
        tree = git(root, "write-tree", env=env).strip()
    if parent and tree == git(root, "rev-parse", f"{parent}^{{tree}}").strip():
        return parent
    parents = ["-p", parent] if parent else []
    return git(root, "commit-tree", tree, *parents, "-F", "-", text=message, env=_identity(root)).strip()


def _update_index(root: Path, entries: list[str]) -> None:
    """Tell the person's index about the files; other git commands, an editor's for instance, lock it for moments."""
    for attempt in range(20):
        try:
            git(root, "update-index", "--add", *entries)
            return
        except VersionError as error:
            if "index.lock" not in str(error) or attempt == 19:
                raise
            time.sleep(0.25)


def create_tag(root: Path, name: str, commit: str, message: str) -> None:
    """Create an annotated tag, a second later than the newest one at least: GTO orders events by their time."""
    name = tag_prefix(root) + name
    newest = git(root, "for-each-ref", "--sort=-creatordate", "--count=1", "--format=%(creatordate:unix)", "refs/tags")
    time_s = max(int(time.time()), int(newest.strip() or 0) + 1)
    env = _identity(root) | {"GIT_COMMITTER_DATE": f"{time_s} +0000"}
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
    moves = [(match, one) for match, one in events if match["stage"] == "production" and one.commit in at]
    moves.sort(key=lambda move: _count(move[0]))
    history = tuple("" if match["cancel"] else at[one.commit] for match, one in moves)
    now = history[-1] if history else ""
    marked = tuple(Version(one.version, one.commit, one.date, one.message, one.version == now) for one in versions)
    return Tags(marked, history, count, next_version(highest))


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
