"""The graph in dvc.yaml agrees with the stages; tags are read as GTO reads them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines import (
    candidates,
    dvc_code,
    dvc_graph,
    dvc_memory,
    dvc_reasons,
    git_commits,
    git_tags,
    versions,
)
from evergreen.stages.pipeline import STAGES

ROOT = Path(__file__).resolve().parents[2]
PATHS = Paths(ROOT, "${item}")
GRAPH: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def stage(name: str) -> dict[str, Any]:
    found: dict[str, Any] = GRAPH[name]["do"]
    return found


def test_this_repositorys_graph_is_the_one_that_projects_get() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert text == dvc_graph.graph_text(".venv/bin/evergreen")
    assert len(text.splitlines()) <= 120
    below = YAML(typ="safe").load(dvc_graph.graph_text(wdir=".."))["stages"]
    assert all(one["do"].pop("wdir") == ".." for one in below.values())
    assert below == YAML(typ="safe").load(dvc_graph.graph_text())["stages"]


def test_the_graph_has_the_stages_in_order() -> None:
    assert tuple(GRAPH) == ("versions", *STAGES)
    assert all(one["foreach"] == "${pipelines}" for one in GRAPH.values())
    heads = (text.partition("pipelines:")[0] for text in ((ROOT / "params.yaml").read_text(), dvc_graph.PARAMS))
    assert next(heads) == next(heads)  # below it stands what was run in this clone


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_name_is_its_file_its_section_and_its_command(name: str) -> None:
    assert (ROOT / "stages" / name / "stage.py").is_file()
    assert stage(name)["cmd"] == f".venv/bin/evergreen stage {name} ${{item}}"
    sections = ["task", name] if name == "preprocess" else [name]
    params = [] if name == "report" else [{"pipelines/${item}.yaml": sections}]
    assert stage(name).get("params", []) == params


def at(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_outs_are_where_the_stages_write() -> None:
    outs = {name: [out for key in ("outs", "metrics", "plots") for out in stage(name).get(key, [])] for name in GRAPH}
    # DVC must not delete what the stage compares with
    kept = {"collect": [PATHS.raw], "preprocess": [PATHS.ready, PATHS.described]}
    for name, folders in kept.items():
        assert outs[name] == [{at(path): {"persist": True}} for path in folders]
        outs[name] = [at(path) for path in folders]
    versions = at(dvc_code.version_file(PATHS, "any").parent)
    assert outs == {
        "versions": [{versions: {"cache": False, "persist": True}}],
        "collect": [at(PATHS.raw)],
        "preprocess": [at(PATHS.ready), at(PATHS.described)],
        "select": [at(PATHS.select)],
        "tune": [at(PATHS.tune)],
        "train": [at(PATHS.candidate)],
        "validate": [
            at(PATHS.evaluation / file) for file in ("evidence.json", "predictions.parquet", "metrics.json", "plots")
        ],
        "report": [at(PATHS.report / "report.html")],
    }


def test_each_stage_reads_its_code_version_and_what_an_earlier_one_made() -> None:
    made: set[str] = set()
    for name in STAGES:
        code, *inputs = stage(name)["deps"]
        assert code == at(dvc_code.version_file(PATHS, name))
        assert all(any(f"{out}/".startswith(f"{one}/") for out in made) for one in inputs), name
        outs = [*stage(name)["outs"], *stage(name).get("metrics", [])]
        made.update(out for one in outs for out in ([one] if isinstance(one, str) else one))


def test_tags_are_read_as_gto_reads_them() -> None:
    from gto.tag import parse_name

    for name in ("digits@v1.2.0", "breast_cancer#production#12", "a-b/c@v1.0.0-rc.1!#3", "digits#staging!#4", "v1.0"):
        ours, theirs = git_tags.NAMES.fullmatch(name), parse_name(name, raise_on_fail=False)
        assert bool(ours) == bool(theirs)
        for group, key in (("name", "name"), ("version", "version"), ("stage", "stage")):
            assert not ours or ours[group] == theirs.get(key)
        assert not ours or int(ours["count"] or 0) == theirs.get("counter", 0)


def test_the_next_version_is_one_minor_up() -> None:
    assert git_tags.next_version("") == "v1.0.0"
    assert git_tags.next_version("v1.10.3") == "v1.11.0"


def lock(name: str, md5: str) -> str:
    out = f"    outs:\n    - path: models/store/{name}/candidate\n      hash: md5\n      md5: {md5}.dir\n"
    return f"schema: '2.0'\nstages:\n  train@{name}:\n    cmd: evergreen stage train {name}\n{out}"


def tag(root: Path, name: str, files: dict[str, str]) -> None:
    git_tags.create_tag(root, name, git_commits.commit_texts(root, files, name), name)


@pytest.mark.parametrize("place", ["dvc.lock", "pipelines/dvc.lock"])
def test_tags_of_other_things_are_no_releases(tmp_path: Path, place: str) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    tag(tmp_path, "other@v1.0.0", {"a": "1"})
    tag(tmp_path, "other#production#1", {"a": "1"})
    tag(tmp_path, "gone#production!#1", {"a": "1"})
    tag(tmp_path, "gone@v1.0.0", {"a": "1"})
    tag(tmp_path, "churn@v1.0.0", {place: lock("churn", "a1")})
    tag(tmp_path, "churn#production#1", {place: lock("churn", "a1")})
    assert versions.released(tmp_path) == {"churn": "v1.0.0"}
    assert versions.retired(tmp_path) == []
    assert versions.versions(Paths(tmp_path, "other")) == []
    tag(tmp_path, "churn@v2.0.0", {place: lock("other", "b2")})  # made by hand, at the wrong commit
    tag(tmp_path, "churn#production#2", {place: lock("other", "b2")})
    assert versions.released(tmp_path) == {"churn": "v1.0.0"}
    assert [one.version for one in versions.versions(Paths(tmp_path, "churn"))] == ["v1.0.0"]
    with pytest.raises(
        VersionError, match=r"of churn v2\.0\.0 has no record of a candidate; register the commit that trained it"
    ):
        versions.checkout(Paths(tmp_path, "churn"), "v2.0.0")
    tags = candidates.read_own_tags(tmp_path, "churn")["churn"]
    assert (tags.count, tags.next_version) == (2, "v2.1.0")  # no name of a tag is used twice


def test_without_git_nothing_is_released(tmp_path: Path) -> None:
    assert versions.released(tmp_path) == {}
    with pytest.raises(VersionError, match="git init"):
        git_commits.git(tmp_path, "status")


def test_settings_are_compared_one_by_one() -> None:
    assert dvc_reasons._flatten({"train": {"epochs": 3, "clip": {}}, "task": "x"}) == {
        "train.epochs": 3,
        "train.clip": {},
        "task": "x",
    }


def test_what_dvc_said_stands_while_the_bytes_are_the_same(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "alpha")
    for file, text in {paths.pipeline: "task: regression", paths.raw / "rows": "1", paths.select: "{}"}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    outs = "".join(f"    - path: {path.relative_to(tmp_path)}\n" for path in (paths.raw, paths.select))
    lock = f"schema: '2.0'\nstages:\n  select@alpha:\n    outs:\n{outs}"
    first = dvc_memory.state_hash(paths, "graph", lock)
    for file in (paths.raw / "rows", paths.select):  # made again, with a new time and inode
        file.with_name("new").write_text(file.read_text())
        file.with_name("new").replace(file)
    assert dvc_memory.state_hash(paths, "graph", f"{lock}  versions@alpha:\n    cmd: true\n") == first
    assert dvc_memory.state_hash(paths, "graph", lock.replace("select@", "tune@")) != first
    (paths.raw / "rows").write_text("2")
    second = dvc_memory.state_hash(paths, "graph", lock)
    paths.select.unlink()
    assert len({first, second, dvc_memory.state_hash(paths, "graph", lock)}) == 3


def test_importing_the_door_opens_no_engine() -> None:
    loaded = (
        "import sys, evergreen.stages.engines.versions\n"
        "print(sorted({'dvc', 'gto', 'torch', 'ray', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
