"""Release, roll back and fetch versions; with what is stale and what is recorded, the one door to DVC and git.

A version is a git tag on a commit whose dvc.lock names every byte that belongs together. Which version is in service
is a tag as well, so releases and rollbacks are history that nobody rewrites, and `gto show` reads it.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from evergreen.core import parts
from evergreen.core.errors import VersionError
from evergreen.core.files import atomic_directory, read_json, read_text
from evergreen.core.paths import IMPORT_ROOT, Paths
from evergreen.core.processes import exclusive_lock
from evergreen.stages.engines import git_commits, git_tags
from evergreen.stages.engines.candidates import find_candidate, read_own_tags, recorded_candidates
from evergreen.stages.engines.dvc_cache import export_folder, folder_md5, push
from evergreen.stages.engines.dvc_code import write_code_versions as write_code_versions
from evergreen.stages.engines.dvc_graph import add_to_params, graph_file, load_yaml, unregister_pipeline
from evergreen.stages.engines.dvc_graph import register_pipeline as register_pipeline
from evergreen.stages.engines.dvc_stages import check_graph as check_graph
from evergreen.stages.engines.dvc_stages import commit as commit
from evergreen.stages.engines.dvc_stages import is_up_to_date as is_up_to_date
from evergreen.stages.engines.dvc_stages import stale_reason as stale_reason
from evergreen.stages.engines.dvc_stages import stale_reasons as stale_reasons
from evergreen.stages.engines.dvc_state import prepare as prepare
from evergreen.stages.engines.git_tags import Version

SCORES = "Scores: "
LOCK_SECONDS = 60.0  # a release takes one


def print_note(note: str) -> None:
    """Print what a release says beside its result, where the caller listens to nothing."""
    print(f"evergreen: {note}", file=sys.stderr)


def released(root: Path) -> dict[str, str]:
    """Return the version in production of each pipeline that has one."""
    return {name: tags.production for name, tags in read_own_tags(root).items() if tags.production}


def retired(root: Path) -> list[str]:
    """Return the pipelines that were taken out of production, in alphabetical order."""
    return sorted(name for name, tags in read_own_tags(root).items() if tags.is_retired)


def versions(paths: Paths) -> list[Version]:
    """Return every version of this pipeline, oldest first."""
    return list(_tags(paths).versions)


def candidate_version(paths: Paths) -> str | None:
    """Return the version that the recorded candidate is; None where it is none, or there is no candidate."""
    lock = paths.root / graph_file(paths.root, "dvc.lock")
    candidate = find_candidate(read_text(lock) if lock.is_file() else "", paths)
    version = _find_version(paths, _tags(paths), candidate) if candidate else None
    return version.version if version else None


def _find_version(paths: Paths, tags: git_tags.Tags, candidate: str) -> Version | None:
    recorded = recorded_candidates(paths.root, {paths.name: tags.versions})
    return next((one for one in reversed(tags.versions) if recorded[paths.name, one.commit] == candidate), None)


def scores(version: Version) -> dict[str, float]:
    """Return the test scores when it was released, from the tag's last line; {} for a tag made by other hands."""
    last = version.message.rpartition("\n")[2]
    return json.loads(last.removeprefix(SCORES)) if last.startswith(SCORES) else {}


def _tags(paths: Paths) -> git_tags.Tags:
    return read_own_tags(paths.root, paths.name).get(paths.name) or git_tags.Tags((), (), 0, git_tags.next_version(""))


@contextlib.contextmanager
def release_lock(paths: Paths) -> Iterator[None]:
    """Let one release or rollback at a time happen in this project."""
    with exclusive_lock(paths.home / "release.lock", "another release is being made", timeout_s=LOCK_SECONDS):
        yield


def release(paths: Paths, message: str = "", say: Callable[[str], None] = print_note, *, again: bool = False) -> str:
    """Commit dvc.lock, tag the candidate it records as a version, put that into production; return the version.

    A candidate that is a version already keeps it: it goes into production only if it never was there, so one that was
    rolled back stays back, except when a person asks for it `again`. `say` hears what a person should know: files that
    git lacks, a remote that failed.
    """
    place = graph_file(paths.root, "dvc.lock")
    lock = paths.root / place
    text = read_text(lock) if lock.is_file() else ""
    candidate = find_candidate(text, paths)
    if candidate is None:
        fix = f"make one with `evergreen run {paths.name}`"
        raise VersionError(f"{paths.name} has no recorded candidate to release", place=place, fix=fix)
    with release_lock(paths):
        tags = _tags(paths)
        known = _find_version(paths, tags, candidate)
        if known is None:
            known = _register_version(paths, text, tags, message)
        if known.version not in tags.production_history or (again and known.version != tags.production):
            _put_event(paths, "production", known, message or f"release {known.version}")
        elif known.version != tags.production:
            back = f"`evergreen rollback {paths.name} {known.version}` puts it back"
            say(f"{known.version} was rolled back, so {tags.production} stays in production; {back}")
    _say_notes(paths, say)
    return known.version


def _register_version(paths: Paths, lock: str, tags: git_tags.Tags, message: str) -> Version:
    version = tags.next_version
    title = f"{paths.name} {version}"
    texts = {graph_file(paths.root, "dvc.lock"): lock} | _own_params(paths.root)
    commit = git_commits.commit_texts(
        paths.root, texts, "\n\n".join(filter(None, [f"Release {title}", message])) + "\n"
    )
    reached = _test_scores(paths)
    body = [title, message, SCORES + json.dumps(reached, sort_keys=True) if reached else ""]
    git_tags.create_tag(paths.root, f"{paths.name}@{version}", commit, "\n\n".join(filter(None, body)) + "\n")
    return Version(version, commit, "", message)


def _test_scores(paths: Paths) -> dict[str, float]:
    """Return the candidate's scores on the test split, as validate wrote them."""
    scored = read_json(paths.metrics).get("test", {}) if paths.metrics.is_file() else {}
    scored = scored if isinstance(scored, dict) else {}
    return {name: score["value"] for name, score in scored.items() if isinstance(score, dict) and "value" in score}


def _own_params(root: Path) -> dict[str, str]:
    """Return params.yaml, when all that differs from git is names which `register_pipeline` added."""
    place = graph_file(root, "params.yaml")
    now, then = read_text(root / place), git_commits.content(root, "HEAD", place)
    if then is None or now == then:
        return {}
    listed = load_yaml(then, place)["pipelines"] or []
    added = [name for name in load_yaml(now, place)["pipelines"] or [] if name not in listed]
    return {place: now} if added and add_to_params(then, added) == now else {}


def _put_event(paths: Paths, stage: str, version: Version, message: str) -> None:
    """Tag that a version went into a stage, or ("production!") out of it."""
    tag = f"{paths.name}#{stage}#{_tags(paths).count + 1}"
    git_tags.create_tag(paths.root, tag, version.commit, message + "\n")


def _say_notes(paths: Paths, say: Callable[[str], None]) -> None:
    if uncommitted := git_commits.changed(paths.root, *_needed_to_rebuild(paths)):
        shown = ", ".join(uncommitted[:5]) + (" …" if len(uncommitted) > 5 else "")
        say(f"released, but git lacks {shown}; commit them so that the version can be built again")
    try:
        push(paths)
    except (VersionError, OSError) as error:
        say(f"released, but its bytes did not reach the remote ({error}); run `dvc push` when it answers")


def _needed_to_rebuild(paths: Paths) -> list[str]:
    """Return what git must hold to build a version again: the YAML, the graph, the project's own parts."""
    is_evergreen = paths.root.resolve() == IMPORT_ROOT.resolve()
    own = ("core", "data", "models", "stages") if is_evergreen else parts.FOLDERS.values()
    places = [graph_file(paths.root, "dvc.yaml"), *own]
    return [f"pipelines/{paths.name}.yaml", *(place for place in places if (paths.root / place).exists())]


def rollback(paths: Paths, version: str | None = None) -> str:
    """Put an earlier version into production again, by default the newest one older than what is there now.

    Raises VersionError when there is no such version; the message lists those there are.
    """
    with release_lock(paths):
        tags = _tags(paths)
        target = tags.find(version) if version else _earlier(tags)
        if target is None:
            known = ", ".join(one.version for one in tags.versions)
            problem = f"{paths.name} has no version {version}" if version else f"{paths.name} has no earlier version"
            fix = f"its versions are {known}" if known else f"release one with `evergreen run {paths.name}`"
            raise VersionError(problem, fix=fix)
        if not target.production:
            _put_event(paths, "production", target, f"roll back to {target.version}")
    return target.version


def retire(paths: Paths) -> str:
    """Take a pipeline out of production and out of DVC's list; return the version that was there. All versions stay.

    Raises VersionError when nothing of it is in production.
    """
    with release_lock(paths):
        tags = _tags(paths)
        version = tags.find(tags.production or "")
        if version is None:
            problem = f"{paths.name} is retired already" if tags.is_retired else f"{paths.name} has no released version"
            raise VersionError(problem, fix=f"released: {', '.join(released(paths.root)) or 'nothing'}")
        _put_event(paths, "production!", version, f"retire {version.version}")
    unregister_pipeline(paths)
    return version.version


def _earlier(tags: git_tags.Tags) -> Version | None:
    """Return the newest version older than the one in production that has been there itself."""
    names = [one.version for one in tags.versions]
    before = names.index(tags.production) if tags.production in names else len(names)
    return next((one for one in reversed(tags.versions[:before]) if one.version in tags.production_history), None)


def checkout(paths: Paths, version: str) -> Path:
    """Return the folder with a version's model, under .evergreen/released, from DVC's cache or else its remote.

    Its bytes are those that the version's dvc.lock names: a copy that differs is fetched again.
    """
    tags = git_tags.read_tags(paths.root, paths.name).get(paths.name)
    tagged = tags.find(version) if tags else None
    if tagged is None:
        known = ", ".join(one.version for one in versions(paths)) or "none"
        raise VersionError(f"{paths.name} has no version {version}", fix=f"its versions: {known}")
    (wanted,), folder = recorded_candidates(paths.root, {paths.name: [tagged]}).values(), paths.released / version
    if wanted is None:
        problem = f"the commit {tagged.commit[:12]} of {paths.name} {version} has no record of a candidate"
        raise VersionError(problem, place="dvc.lock", fix="register the commit that trained it")
    if folder.is_dir() and folder_md5(folder) == wanted:
        return folder
    with atomic_directory(folder) as new:
        try:
            export_folder(paths.root, wanted, new)
        except VersionError as error:
            raise VersionError(f"cannot fetch {paths.name} {version}: {error.problem}", fix=error.fix) from None
    return folder
