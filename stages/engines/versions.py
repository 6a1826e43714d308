"""Release, roll back and fetch versions; with what is stale and what is recorded, the one door to DVC and git.

A version is a git tag on a commit whose dvc.lock names every byte that belongs together. Which version is in service
is a tag as well, so releases and rollbacks are history that nobody rewrites, and `gto show` reads it.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evergreen.core import parts
from evergreen.core.errors import VersionError
from evergreen.core.files import atomic_directory
from evergreen.core.paths import IMPORT_ROOT, Paths
from evergreen.stages.engines import git_commits, git_tags
from evergreen.stages.engines.candidates import read_own_tags, read_records, recorded_candidates, recorded_outs
from evergreen.stages.engines.dvc_cache import export_file, export_folder, folder_md5, push
from evergreen.stages.engines.dvc_code import write_code_versions as write_code_versions
from evergreen.stages.engines.dvc_graph import graph_file, unregister_pipeline
from evergreen.stages.engines.dvc_graph import register_pipeline as register_pipeline
from evergreen.stages.engines.dvc_served import read_served, record_served
from evergreen.stages.engines.dvc_stages import check_graph as check_graph
from evergreen.stages.engines.dvc_stages import commit as commit
from evergreen.stages.engines.dvc_stages import is_up_to_date as is_up_to_date
from evergreen.stages.engines.dvc_stages import stale_reason as stale_reason
from evergreen.stages.engines.dvc_stages import stale_reasons as stale_reasons
from evergreen.stages.engines.dvc_state import prepare as prepare
from evergreen.stages.engines.git_tags import Event, Version
from evergreen.stages.engines.registration import (
    ENGINE,
    NO_TAGS,
    named_version,
    put_event,
    read_tags,
    recorded_candidate,
    registered,
    release_lock,
)
from evergreen.stages.engines.registration import candidate_version as candidate_version
from evergreen.stages.engines.registration import scores as scores


def print_note(note: str) -> None:
    """Print what a release says beside its result, where the caller listens to nothing."""
    print(f"evergreen: {note}", file=sys.stderr)


def released(root: Path) -> dict[str, str]:
    """Return the version in production of each pipeline that has one."""
    return {name: tags.production for name, tags in read_own_tags(root).items() if tags.production}


def in_service(root: Path) -> dict[str, Event]:
    """Return the event by which each pipeline's version went into production."""
    return {name: tags.moves[-1] for name, tags in read_own_tags(root).items() if tags.production}


def retired(root: Path) -> list[str]:
    """Return the pipelines that were taken out of production, in alphabetical order."""
    return sorted(name for name, tags in read_own_tags(root).items() if tags.is_retired)


def versions(paths: Paths) -> list[Version]:
    """Return every version of this pipeline, oldest first."""
    return list(read_tags(paths).versions)


def served_by(paths: Paths, version: str) -> str:
    """Return which engine was chosen for a version at its release, and why; "" where nothing was to be chosen."""
    tagged = read_tags(paths).find(version)
    lines = tagged.message.splitlines() if tagged else []
    return next((line.removeprefix(ENGINE) for line in lines if line.startswith(ENGINE)), "")


def last_released(paths: Paths) -> str | None:
    """Return the version that went into production last; it may be out of it again."""
    newest = read_tags(paths).newest
    return newest.version if newest else None


def release(
    paths: Paths,
    message: str = "",
    say: Callable[[str], None] = print_note,
    *,
    again: bool = False,
    choose_engine: Callable[[], tuple[str, bool]] = lambda: ("", False),
) -> str:
    """Commit dvc.lock, tag the candidate it records as a version, put that into production; return the version.

    A candidate that is a version already keeps it: it goes into production only if it never was there and nobody
    rejected it, so one that was rolled back stays back, except when a person asks for it `again`. `say` hears what a
    person should know: files that git lacks, a remote that failed. `choose_engine` is called for a candidate that is no
    version yet: it returns words for the tag, and whether it wrote `served/`.
    """
    chosen = _record_engine(paths, choose_engine)
    with registered(paths, message, chosen) as (tags, known):
        is_tried = tags.challenger is not None and tags.challenger.version == known.version
        is_held_back = known.version in tags.production_history or tags.rejection(known.version) is not None
        if not (is_held_back or is_tried) or (again and known.version != tags.production):
            put_event(paths, "production", known, message or f"release {known.version}")
        elif known.version != tags.production:
            how = "rejected" if tags.rejection(known.version) else "made a challenger" if is_tried else "rolled back"
            back = f"`evergreen approve {paths.name}` puts it into service"
            say(f"{known.version} was {how}, so {tags.production or 'nothing'} stays in production; {back}")
    _say_notes(paths, say)
    return known.version


def _record_engine(paths: Paths, choose_engine: Callable[[], tuple[str, bool]]) -> str:
    candidate = recorded_candidate(paths)
    if candidate is None or candidate_version(paths):
        return ""
    engine, has_served = choose_engine()
    if has_served:
        record_served(paths, candidate)
    return engine


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
    places = [graph_file(paths.root, "dvc.yaml"), paths.forgotten.relative_to(paths.root).as_posix(), *own]
    return [f"pipelines/{paths.name}.yaml", *(place for place in places if (paths.root / place).exists())]


def rollback(paths: Paths, version: str | None = None) -> str:
    """Put an earlier version into production again, by default the newest one older than what is there now.

    Raises VersionError when there is no such version; the message lists those there are.
    """
    with release_lock(paths):
        tags = read_tags(paths)
        target = tags.find(version) if version else _earlier(tags)
        if target is None:
            known = ", ".join(one.version for one in tags.versions)
            problem = f"{paths.name} has no version {version}" if version else f"{paths.name} has no earlier version"
            fix = f"its versions are {known}" if known else f"release one with `evergreen run {paths.name}`"
            raise VersionError(problem, fix=fix)
        if not target.production:
            put_event(paths, "production", target, f"roll back to {target.version}")
    return target.version


def retire(paths: Paths) -> str:
    """Take a pipeline out of production and out of DVC's list; return the version that was there. All versions stay.

    Raises VersionError when nothing of it is in production.
    """
    with release_lock(paths):
        tags = read_tags(paths)
        version = tags.find(tags.production or "")
        if version is None:
            problem = f"{paths.name} is retired already" if tags.is_retired else f"{paths.name} has no released version"
            raise VersionError(problem, fix=f"released: {', '.join(released(paths.root)) or 'nothing'}")
        put_event(paths, "production!", version, f"retire {version.version}")
    unregister_pipeline(paths)
    return version.version


def _earlier(tags: git_tags.Tags) -> Version | None:
    """Return the newest version older than the one in production that has been there itself."""
    names = [one.version for one in tags.versions]
    before = names.index(tags.production) if tags.production in names else len(names)
    return next((one for one in reversed(tags.versions[:before]) if one.version in tags.production_history), None)


def find_version(paths: Paths, version: str) -> Version:
    """Return the version of this name, one tagged by hand too. Raises VersionError with those there are, if none is."""
    tags = git_tags.read_tags(paths.root, paths.name).get(paths.name, NO_TAGS)
    return named_version(paths, tags, version)


@contextmanager
def checked_out_rows(paths: Paths, version: str) -> Iterator[Path]:
    """Yield a folder with the prepared rows that a version was made from, from DVC's cache or else its remote.

    Raises VersionError where neither has them.
    """
    outs = recorded_outs(read_records(paths.root, find_version(paths, version).commit, paths.name))
    oid = outs.get(paths.ready.name, {}).get("md5")
    if oid is None:
        raise VersionError(f"no commit records the rows of {paths.name} {version}", place="dvc.lock")
    with tempfile.TemporaryDirectory(prefix="rows-", dir=paths.home) as folder:
        export_folder(paths.root, oid, Path(folder))
        yield Path(folder)


def checkout_predictions(paths: Paths, version: str) -> Path | None:
    """Return the file with a version's answers to its test rows, under .evergreen/released; None where it has none."""
    file = paths.released / f"{version}.parquet"
    records = read_records(paths.root, find_version(paths, version).commit, paths.name)
    outs, validated = recorded_outs(records), records.get("validate", {}).get("deps", ())
    is_own = outs.get(paths.candidate.name, {}).get("md5") in [one.get("md5") for one in validated]
    oid = outs.get("predictions.parquet", {}).get("md5")
    if oid and is_own and not file.is_file():
        with suppress(VersionError):
            export_file(paths.root, oid, file)
    return file if file.is_file() else None


def checkout(paths: Paths, version: str) -> Path:
    """Return the folder with a version's model, under .evergreen/released, from DVC's cache or else its remote.

    Its bytes are those that the version's dvc.lock names, with the graph of ONNX where the version has one: a copy that
    differs is fetched again.
    """
    tagged = find_version(paths, version)
    (wanted,), folder = recorded_candidates(paths.root, {paths.name: [tagged]}).values(), paths.released / version
    if wanted is None:
        problem = f"the commit {tagged.commit[:12]} of {paths.name} {version} has no record of a candidate"
        raise VersionError(problem, place="dvc.lock", fix="register the commit that trained it")
    _, served = read_served(paths.root, paths.name, wanted, tagged.commit)
    if folder.is_dir() and folder_md5(folder) in filter(None, (served, wanted)):
        return folder
    with suppress(VersionError):  # without the graph torch serves it
        if served:
            return _fetch(paths.root, served, folder)
    try:
        return _fetch(paths.root, wanted, folder)
    except VersionError as error:
        raise VersionError(f"cannot fetch {paths.name} {version}: {error.problem}", fix=error.fix) from None


def _fetch(root: Path, oid: str, folder: Path) -> Path:
    with atomic_directory(folder) as new:
        export_folder(root, oid, new)
    return folder
