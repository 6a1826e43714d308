"""Make a folder of a git repository a project: write what is missing, change nothing that is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_text, write_text
from evergreen.core.paths import find_root
from evergreen.stages.engines.dvc_graph import PARAMS, graph_text, load_yaml
from evergreen.stages.engines.git_tags import tag_prefix

DVC_CONFIG = "[core]\n    analytics = false\n    autostage = false\n    check_update = false\n"
OWN_INPUT = "pipelines/${item}.yaml"  # what tells Evergreen's graph, of any release, from a dvc.yaml of the person's
OWN_KEYS = {"pipelines"}  # of params.yaml
GIT_IGNORES = ("/.evergreen", "/data/store/", "/models/store/")
DVC_IGNORES = ("/.evergreen", ".venv")


@dataclass(frozen=True)
class ProjectFile:
    """One file or folder of a project: what it is for, and whether `create` wrote it or added to it."""

    path: str
    purpose: str
    written: bool


def create(root: Path) -> list[ProjectFile]:
    """Write what a project at `root` needs, where it is missing; return all of it with a line on each.

    Where the person has a dvc.yaml or params.yaml of their own, the graph and its parameters lie in pipelines/.
    Raises PipelineError in a folder of another project, VersionError outside of a git repository.
    """
    tag_prefix(root)
    _check_not_inside_another(root)
    return list(_create(root))


def _check_not_inside_another(root: Path) -> None:
    try:
        other = find_root(root)
    except PipelineError:
        return
    if other != root.resolve():
        fix = "change into that folder, or take one beside it"
        raise PipelineError(f"it lies in the project {other}", place=str(root), fix=fix)


def _create(root: Path) -> Iterator[ProjectFile]:
    folder, text = _graph(root)
    missing = not (root / "pipelines").is_dir()
    (root / "pipelines").mkdir(exist_ok=True)
    yield ProjectFile("pipelines/", "one YAML per pipeline: `evergreen new` writes the first", missing)
    yield _write(root, f"{folder}dvc.yaml", text, "the stages of every pipeline, for DVC")
    yield _write(root, f"{folder}params.yaml", PARAMS, "the pipelines that DVC knows; runs add to it")
    if missing := not (root / ".dvc").is_dir():
        (root / ".dvc").mkdir()
        write_text(root / ".dvc" / "config", DVC_CONFIG)
        write_text(root / ".dvc" / ".gitignore", "/config.local\n/tmp\n/cache\n")
    yield ProjectFile(".dvc/", "DVC's settings; data and models lie in its cache", missing)
    yield _append(root, ".dvcignore", DVC_IGNORES, "the files that DVC ignores")
    yield _append(root, ".gitignore", GIT_IGNORES, "the files that git ignores: data, models, and running state")


def _graph(root: Path) -> tuple[str, str]:
    """Return the folder for dvc.yaml and params.yaml, "" or "pipelines/", and the text of dvc.yaml."""
    graph, params = root / "dvc.yaml", root / "params.yaml"
    if graph.is_file():
        theirs = OWN_INPUT not in read_text(graph)
    else:
        theirs = params.is_file() and {*(load_yaml(read_text(params), params.name) or ())} != OWN_KEYS
    return ("pipelines/", graph_text(wdir="..")) if theirs else ("", graph_text())


def _write(root: Path, place: str, text: str, purpose: str) -> ProjectFile:
    missing = not (root / place).exists()
    if missing:
        write_text(root / place, text)
    return ProjectFile(place, purpose, missing)


def _append(root: Path, place: str, lines: tuple[str, ...], purpose: str) -> ProjectFile:
    """Add those lines that a file lacks, at its end and in its own line ending."""
    path = root / place
    text = path.read_bytes().decode() if path.exists() else ""
    end = "\r\n" if "\r\n" in text else "\n"
    if new := [line for line in lines if line not in map(str.strip, text.split("\n"))]:
        start = text + end if text and not text.endswith("\n") else text
        path.write_bytes((start + "".join(line + end for line in new)).encode())
    return ProjectFile(place, purpose, bool(new))
