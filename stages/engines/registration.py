"""Make a version of the candidate that dvc.lock records: a commit, and a tag with its scores."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.core.files import read_json, read_text
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.stages.engines import git_commits, git_tags
from evergreen.stages.engines.candidates import find_candidate, read_own_tags, recorded_candidates, stage_entry
from evergreen.stages.engines.dvc_graph import add_to_params, graph_file, load_yaml
from evergreen.stages.engines.dvc_served import read_served, served_file
from evergreen.stages.engines.git_tags import Version

SCORES, ENGINE = "Scores: ", "Engine: "
LOCK_SECONDS = 60.0  # a release takes one
NO_TAGS = git_tags.Tags((), (), 0, git_tags.next_version(""))


def recorded_candidate(paths: Paths) -> str | None:
    """Return the hash of the candidate that dvc.lock records; None where there is none."""
    lock = paths.root / graph_file(paths.root, "dvc.lock")
    text = read_text(lock) if lock.is_file() else ""
    return find_candidate(stage_entry(text, "train", paths.name) or text, paths)


def candidate_version(paths: Paths) -> str | None:
    """Return the version that the recorded candidate is; None where it is none, or there is no candidate."""
    candidate = recorded_candidate(paths)
    version = find_version(paths, read_tags(paths), candidate) if candidate else None
    return version.version if version else None


def find_version(paths: Paths, tags: git_tags.Tags, candidate: str) -> Version | None:
    """Return the version that is this candidate; None where none is."""
    recorded = recorded_candidates(paths.root, {paths.name: tags.versions})
    return next((one for one in reversed(tags.versions) if recorded[paths.name, one.commit] == candidate), None)


def named_version(paths: Paths, tags: git_tags.Tags, version: str) -> Version:
    """Return the version of this name. Raises VersionError with those there are, where there is none."""
    if found := tags.find(version):
        return found
    known = ", ".join(one.version for one in tags.versions) or "none"
    raise VersionError(f"{paths.name} has no version {version}", fix=f"its versions: {known}")


def scores(version: Version) -> dict[str, float]:
    """Return the test scores when it was released, from the tag's last line; {} for a tag made by other hands."""
    last = version.message.rpartition("\n")[2]
    return json.loads(last.removeprefix(SCORES)) if last.startswith(SCORES) else {}


def read_tags(paths: Paths) -> git_tags.Tags:
    """Read the pipeline's versions and events."""
    return read_own_tags(paths.root, paths.name).get(paths.name, NO_TAGS)


@contextlib.contextmanager
def release_lock(paths: Paths) -> Iterator[None]:
    """Let one release or rollback at a time happen in this project."""
    with exclusive_lock(paths.home / "release.lock", "another release is being made", timeout_s=LOCK_SECONDS):
        yield


@contextlib.contextmanager
def registered(paths: Paths, message: str, engine: str = "") -> Iterator[tuple[git_tags.Tags, Version]]:
    """Hold the release lock; yield the tags and the recorded candidate's version, registered if it was none.

    `engine` is what `choose_engine` said of the candidate. Raises VersionError where no candidate is recorded.
    """
    place = graph_file(paths.root, "dvc.lock")
    lock = paths.root / place
    text = read_text(lock) if lock.is_file() else ""
    candidate = find_candidate(text, paths)
    if candidate is None:
        fix = f"make one with `evergreen run {paths.name}`"
        raise VersionError(f"{paths.name} has no recorded candidate to release", place=place, fix=fix)
    with release_lock(paths):
        tags = read_tags(paths)
        known = find_version(paths, tags, candidate)
        words = [message, f"{ENGINE}{engine}" if engine else ""]
        yield tags, known or _register_version(paths, text, tags, candidate, words)


def _register_version(
    paths: Paths, lock: str, tags: git_tags.Tags, candidate: str, paragraphs: Sequence[str]
) -> Version:
    version = tags.next_version
    title = f"{paths.name} {version}"
    texts = {graph_file(paths.root, "dvc.lock"): lock} | _own_params(paths.root)
    if text := read_served(paths.root, paths.name, candidate)[0]:
        texts[served_file(paths.name)] = text
    commit = git_commits.commit_texts(
        paths.root, texts, "\n\n".join(filter(None, [f"Release {title}", paragraphs[0]])) + "\n"
    )
    reached = _test_scores(paths)
    body = [title, *paragraphs, SCORES + json.dumps(reached, sort_keys=True) if reached else ""]
    message = "\n\n".join(filter(None, body)) + "\n"
    git_tags.create_tag(paths.root, f"{paths.name}@{version}", commit, message)
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


def put_event(paths: Paths, stage: str, version: Version, message: str) -> None:
    """Tag that a version went into a stage, or ("production!") out of it."""
    tag = f"{paths.name}#{stage}#{read_tags(paths).count + 1}"
    git_tags.create_tag(paths.root, tag, version.commit, message + "\n")
