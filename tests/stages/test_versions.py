"""The graph in dvc.yaml agrees with the stages and their imports; tags are read as GTO reads them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.stages.engines import dvc_graph, git_tags, versions
from evergreen.stages.pipeline import STAGES, names

ROOT = Path(__file__).resolve().parents[2]
PATHS = Paths(ROOT, "${item}")
GRAPH: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def stage(name: str) -> dict[str, Any]:
    found: dict[str, Any] = GRAPH[name]["do"]
    return found


def test_the_graph_has_the_stages_in_order() -> None:
    assert tuple(GRAPH) == STAGES
    assert all(one["foreach"] == "${pipelines}" for one in GRAPH.values())
    assert YAML(typ="safe").load((ROOT / "params.yaml").read_text())["pipelines"] == names(ROOT)


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_name_is_its_file_its_section_and_its_command(name: str) -> None:
    assert (ROOT / "stages" / name / "stage.py").is_file()
    assert stage(name)["cmd"] == f"PATH=.venv/bin:$PATH python -m evergreen.stages.{name}.stage ${{item}}"
    sections = [name] if name == "collect" else ["task", name]
    assert stage(name)["params"] == [{"pipelines/${item}.yaml": sections}]


def test_outs_are_where_the_stages_write_and_hold_no_code() -> None:
    def at(path: Path) -> str:
        return path.relative_to(ROOT).as_posix()

    outs = {name: [out for key in ("outs", "metrics", "plots") for out in stage(name).get(key, [])] for name in STAGES}
    # DVC must not delete what the stage compares with
    kept = {"collect": [PATHS.raw], "preprocess": [PATHS.ready, PATHS.described]}
    for name, folders in kept.items():
        assert outs[name] == [{at(path): {"persist": True}} for path in folders]
        outs[name] = [at(path) for path in folders]
    assert outs == {
        "collect": [at(PATHS.raw)],
        "preprocess": [at(PATHS.ready), at(PATHS.described)],
        "select": [at(PATHS.select)],
        "tune": [at(PATHS.tune)],
        "train": [at(PATHS.candidate)],
        "validate": [at(PATHS.report / file) for file in ("report.html", "metrics.json", "plots")],
    }
    for name in STAGES:
        for dep in stage(name)["deps"]:
            assert not any(f"{out}/".startswith(f"{dep}/") and out != dep for made in outs.values() for out in made), (
                dep
            )


def test_each_stage_reads_what_an_earlier_one_made() -> None:
    made: set[str] = set()
    for name in STAGES:
        read = {dep for dep in stage(name)["deps"] if "${item}" in dep}
        assert read <= made
        made.update(out for one in stage(name)["outs"] for out in ([one] if isinstance(one, str) else one))


def test_tags_are_read_as_gto_reads_them() -> None:
    from gto.tag import parse_name

    for name in ("digits@v1.2.0", "breast_cancer#production#12", "a-b/c@v1.0.0-rc.1!#3", "digits#staging!#4", "v1.0"):
        ours, theirs = git_tags.NAMES.fullmatch(name), parse_name(name, raise_on_fail=False)
        assert bool(ours) == bool(theirs)
        for group, key in (("name", "name"), ("version", "version"), ("stage", "stage")):
            assert not ours or ours[group] == theirs.get(key)
        assert not ours or int(ours["count"] or 0) == theirs.get("counter", 0)


def test_the_next_version_is_one_minor_up() -> None:
    known = [git_tags.Version(name, "c", "", "") for name in ("v1.0.0", "v1.9.0", "v1.10.3")]
    assert git_tags.following(()) == "v1.0.0"
    assert git_tags.following(tuple(known)) == "v1.11.0"


def test_without_git_nothing_is_released(tmp_path: Path) -> None:
    assert versions.released(tmp_path) == {}
    with pytest.raises(VersionError, match="git init"):
        git_tags.git(tmp_path, "status")


def test_settings_are_compared_one_by_one() -> None:
    assert dvc_graph._flat({"train": {"epochs": 3, "clip": {}}, "task": "x"}) == {
        "train.epochs": 3,
        "train.clip": {},
        "task": "x",
    }


def test_importing_the_door_opens_no_engine() -> None:
    loaded = (
        "import sys, evergreen.stages.engines.versions\n"
        "print(sorted({'dvc', 'gto', 'torch', 'ray', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
