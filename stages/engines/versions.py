"""The one door to DVC and git: what is stale, what is recorded, which version is released, and its bytes.

A version is a git tag on a commit whose dvc.lock names every byte that belongs together. Which version is in service
is a tag as well, so releases and rollbacks are history that nobody rewrites, and `gto show` reads it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.core.files import replace_folder
from evergreen.core.paths import Paths
from evergreen.stages.engines import git_tags
from evergreen.stages.engines.dvc_cache import export, folder_md5, push
from evergreen.stages.engines.dvc_graph import commit, complete, enrolled, fresh, load, prepare, stale
from evergreen.stages.engines.git_tags import Version

__all__ = [
    "Version",
    "commit",
    "complete",
    "fetch",
    "fresh",
    "prepare",
    "registered",
    "release",
    "released",
    "rollback",
    "scores",
    "stale",
    "versions",
]

SCORES = "Scores: "
CODE = ("data", "models", "stages", "dvc.yaml")


def tell(note: str) -> None:
    """What a release says beside its result, where the caller listens to nothing."""
    print(f"evergreen: {note}", file=sys.stderr)


def released(root: Path) -> dict[str, str]:
    """The version in production of each pipeline that has one."""
    return {name: told.production for name, told in git_tags.read(root).items() if told.production}


def versions(paths: Paths) -> list[Version]:
    """Every version of this pipeline, oldest first."""
    return list(_told(paths).versions)


def registered(paths: Paths) -> str | None:
    """The version that the recorded candidate is; None where it is none, or there is no candidate."""
    lock = paths.root / "dvc.lock"
    candidate = _candidate(lock.read_text(encoding="utf-8") if lock.is_file() else "", paths)
    same = (one for one in reversed(versions(paths)) if _candidate_at(paths, one) == candidate)
    found = next(same, None) if candidate else None
    return found.version if found else None


def scores(version: Version) -> dict[str, float]:
    """The test scores when it was released, from the tag's last line; {} for a tag made by other hands."""
    last = version.message.rpartition("\n")[2]
    found: dict[str, float] = json.loads(last.removeprefix(SCORES)) if last.startswith(SCORES) else {}
    return found


def _told(paths: Paths) -> git_tags.Tags:
    return git_tags.read(paths.root, paths.name).get(paths.name) or git_tags.Tags((), (), 0)


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """One release or rollback at a time in this clone."""
    paths.home.mkdir(mode=0o700, exist_ok=True)
    with (paths.home / "release.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def release(paths: Paths, message: str = "", say: Callable[[str], None] = tell, *, again: bool = False) -> str:
    """Commits dvc.lock, tags the candidate it records as a version, puts that into production; returns the version.

    A candidate that is a version already keeps it: it goes into production only if it never was there, so one that was
    rolled back stays back, except when a person asks for it `again`. `say` hears what a person should know: files that
    git lacks, a remote that failed.
    """
    lock = paths.root / "dvc.lock"
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    candidate = _candidate(text, paths)
    if candidate is None:
        fix = f"make one with `evergreen run {paths.name}`"
        raise VersionError(f"{paths.name} has no recorded candidate to release", place="dvc.lock", fix=fix)
    with _alone(paths):
        told = _told(paths)
        known = next((one for one in reversed(told.versions) if _candidate_at(paths, one) == candidate), None)
        if known is None:
            known = _register(paths, text, told, message)
        if known.version not in told.served or (again and known.version != told.production):
            _assign(paths, known, message or f"release {known.version}")
        elif known.version != told.production:
            back = f"`evergreen rollback {paths.name} {known.version}` puts it back"
            say(f"{known.version} was rolled back, so {told.production} stays in production; {back}")
    _notes(paths, say)
    return known.version


def _register(paths: Paths, lock: str, told: git_tags.Tags, message: str) -> Version:
    version = git_tags.following(told.versions)
    title = f"{paths.name} {version}"
    texts = {"dvc.lock": lock} | _own_params(paths.root)
    made = git_tags.commit_texts(paths.root, texts, "\n\n".join(filter(None, [f"Release {title}", message])) + "\n")
    reached = _reached(paths)
    body = [title, message, SCORES + json.dumps(reached, sort_keys=True) if reached else ""]
    git_tags.put(paths.root, f"{paths.name}@{version}", made, "\n\n".join(filter(None, body)) + "\n")
    return Version(version, made, "", message)


def _reached(paths: Paths) -> dict[str, float]:
    """The candidate's scores on the test split, as validate wrote them."""
    file = paths.report / "metrics.json"
    found = json.loads(file.read_text(encoding="utf-8")).get("test", {}) if file.is_file() else {}
    return {name: score["value"] for name, score in found.items()}


def _own_params(root: Path) -> dict[str, str]:
    """params.yaml, when all that differs from git is names which `complete` added."""
    now, then = (root / "params.yaml").read_text(encoding="utf-8"), git_tags.content(root, "HEAD", "params.yaml")
    if then is None or now == then:
        return {}
    listed = load(then, "params.yaml")["pipelines"]
    added = [name for name in load(now, "params.yaml")["pipelines"] if name not in listed]
    return {"params.yaml": now} if added and enrolled(then, added) == now else {}


def _assign(paths: Paths, version: Version, message: str) -> None:
    tag = f"{paths.name}#production#{_told(paths).count + 1}"
    git_tags.put(paths.root, tag, version.commit, message + "\n")


def _notes(paths: Paths, say: Callable[[str], None]) -> None:
    places = [f"pipelines/{paths.name}.yaml", *(place for place in CODE if (paths.root / place).exists())]
    if lacking := git_tags.changed(paths.root, *places):
        shown = ", ".join(lacking[:5]) + (" …" if len(lacking) > 5 else "")
        say(f"released, but git lacks {shown}; commit them so that the version can be built again")
    try:
        push(paths)
    except (VersionError, OSError) as error:
        say(f"released, but its bytes did not reach the remote ({error}); run `dvc push` when it answers")


def rollback(paths: Paths, version: str | None = None) -> str:
    """Puts an earlier version into production again, by default the newest one older than what is there now.

    Raises VersionError when there is no such version; the message lists those there are.
    """
    with _alone(paths):
        told = _told(paths)
        target = told.find(version) if version else _earlier(told)
        if target is None:
            known = ", ".join(one.version for one in told.versions)
            problem = f"{paths.name} has no version {version}" if version else f"{paths.name} has nothing to go back to"
            fix = f"its versions are {known}" if known else f"release one with `evergreen run {paths.name}`"
            raise VersionError(problem, fix=fix)
        if not target.production:
            _assign(paths, target, f"roll back to {target.version}")
    return target.version


def _earlier(told: git_tags.Tags) -> Version | None:
    """The newest version older than the one in production that has been there itself."""
    names = [one.version for one in told.versions]
    before = names.index(told.production) if told.production in names else len(names)
    return next((one for one in reversed(told.versions[:before]) if one.version in told.served), None)


def _candidate(lock: str, paths: Paths) -> str | None:
    """The hash of the trained model that a dvc.lock records for this pipeline."""
    stages = (load(lock, "dvc.lock") or {}).get("stages", {})
    outs = stages.get(f"train@{paths.name}", {}).get("outs", [])
    path = paths.candidate.relative_to(paths.root).as_posix()
    return next((out["md5"] for out in outs if out["path"] == path), None)


def _candidate_at(paths: Paths, version: Version) -> str | None:
    return _candidate(git_tags.content(paths.root, version.commit, "dvc.lock") or "", paths)


def fetch(paths: Paths, version: str) -> Path:
    """The folder with a version's model, under .evergreen/released, from DVC's cache or else its remote.

    Its bytes are those that the version's dvc.lock names: a copy that differs is fetched again.
    """
    found = _told(paths).find(version)
    if found is None:
        known = ", ".join(one.version for one in versions(paths)) or "none"
        raise VersionError(f"{paths.name} has no version {version}", fix=f"its versions: {known}")
    wanted, folder = _candidate_at(paths, found), paths.released / version
    if wanted is None:
        problem = f"the commit {found.commit[:12]} of {paths.name} {version} records no candidate"
        raise VersionError(problem, place="dvc.lock", fix="register the commit that made it")
    if folder.is_dir() and folder_md5(folder) == wanted:
        return folder
    with replace_folder(folder) as new:
        try:
            export(paths.root, wanted, new)
        except VersionError as error:
            raise VersionError(f"cannot fetch {paths.name} {version}: {error.problem}", fix=error.fix) from None
    return folder
