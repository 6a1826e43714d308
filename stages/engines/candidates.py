"""Find the candidates that dvc.lock records, now and at each tagged commit, and so which tags are releases."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines import git_commits, git_tags
from evergreen.stages.engines.dvc_graph import BROKEN_LOCK, load_yaml
from evergreen.stages.engines.git_tags import Tags, Version

LOCKS = ("pipelines/dvc.lock", "dvc.lock")  # where a commit may hold the records


def read_own_tags(root: Path, pipeline: str = "") -> dict[str, Tags]:
    """Read the tags of all pipelines, or of one, without those whose commit records no candidate of that name.

    A person may tag other things in GTO's format. Of all pipelines it looks at the version in production first, and at
    the others only where that one is foreign: a commit's dvc.lock holds 5 kB a pipeline.
    """
    tags = git_tags.read_tags(root, pipeline)
    newest = {name: tuple(filter(None, [one.newest])) for name, one in tags.items()}
    foreign = _foreign(root, {pipeline: tags[pipeline].versions} if pipeline in tags else newest)
    if foreign and not pipeline:
        foreign = _foreign(root, {name: tags[name].versions for name, _ in foreign})
    return git_tags.read_tags(root, pipeline, foreign) if foreign else tags


def _foreign(root: Path, versions: Mapping[str, Sequence[Version]]) -> set[tuple[str, str]]:
    """Return the names with those commits of their versions that record no candidate of that name."""
    return {key for key, candidate in recorded_candidates(root, versions).items() if candidate is None}


def recorded_candidates(root: Path, versions: Mapping[str, Sequence[Version]]) -> dict[tuple[str, str], str | None]:
    """Return the hash of the candidate that the commit of each version records, by name and commit."""
    commits = frozenset(version.commit for tags in versions.values() for version in tags)
    locks = _contents(root, commits) if commits else {}
    places = [(name, version.commit) for name, tags in versions.items() for version in tags]
    return {
        (name, commit): find_candidate(stage_entry(locks.get(commit, ""), "train", name), Paths(root, name))
        for name, commit in places
    }


def read_records(root: Path, commit: str, name: str) -> dict[str, Any]:
    """Return what the dvc.lock of a commit records about each stage of a pipeline."""
    lock = _contents(root, frozenset([commit])).get(commit, "")
    stages = dict.fromkeys(re.findall(rf"^  (\w+)@{re.escape(name)}:$", lock, re.MULTILINE))
    entries = {stage: load_yaml(stage_entry(lock, stage, name), "dvc.lock") for stage in stages}
    return {stage: entry["stages"][f"{stage}@{name}"] for stage, entry in entries.items()}


def recorded_outs(stages: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the outs of what `read_records` returned, by the last name of their path, such as "ready"."""
    return {out["path"].rpartition("/")[2]: out for stage in stages.values() for out in stage.get("outs", ())}


def stage_entry(lock: str, stage: str, name: str) -> str:
    """Return what a dvc.lock holds about a stage of a pipeline: reading all of it as YAML takes long."""
    _, head, rest = lock.partition(f"\n  {stage}@{name}:\n")
    entry = re.match(r"(?:   .*\n)*", rest)
    return f"stages:{head}{entry[0]}" if head and entry else ""


def find_candidate(lock: str, paths: Paths) -> str | None:
    """Return the hash of the trained model that a dvc.lock records for this pipeline."""
    return find_out(lock, paths, "train", paths.candidate)


def find_out(lock: str, paths: Paths, stage: str, out: Path) -> str | None:
    """Return the hash that a dvc.lock records for an out of a stage of this pipeline."""
    path = out.relative_to(paths.root).as_posix()
    try:
        stages = (load_yaml(lock, "dvc.lock") or {}).get("stages") or {}
        outs = stages.get(f"{stage}@{paths.name}", {}).get("outs", [])
        return next((out["md5"] for out in outs if out["path"] == path), None)
    except (AttributeError, LookupError, TypeError) as error:
        raise VersionError("is no record of stages", place="dvc.lock", fix=BROKEN_LOCK) from error


@lru_cache(maxsize=4)
def _contents(root: Path, commits: frozenset[str]) -> Mapping[str, str]:
    """Return by commit what it holds at LOCKS, one text after the other, in one call of git."""
    query = "".join(f"{commit}:./{path} {commit}\n" for commit in commits for path in LOCKS)
    contents: dict[str, str] = {}
    for record in git_commits.git(root, "cat-file", "--batch=\x01%(rest)", text=query).split("\x01")[1:]:
        commit, _, text = record.partition("\n")
        contents[commit] = contents.get(commit, "") + text
    return contents
