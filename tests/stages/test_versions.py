"""The graph in dvc.yaml agrees with the stages and their imports; tags are read as GTO reads them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import versions
from stages.artifacts import Paths
from stages.pipeline import STAGES, names
from stages.records import graph, tags

ROOT = Path(__file__).resolve().parents[2]
PATHS = Paths(ROOT, "${item}")
GRAPH: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]

# What only reads settings, shows, places or records work cannot change a stage's result.
NO_RESULT = {
    f"stages/{name}.py"
    for name in ("pipeline", "settings", "progress", "cluster", "atomic", "versions", "records/graph", "records/tags")
} | {"stages/records/cache.py"}
# Folders whose files are found by their names: whoever reads the first depends on all of the second.
FOLDERS = {
    "data/kinds/__init__.py": ["data/kinds"],
    "data/sources/__init__.py": ["data/sources"],
    "models/catalogue.py": ["models/architectures", "models/tasks"],
    "stages/report/__init__.py": ["stages/report"],
    "stages/drawing/sheet.py": ["stages/drawing"],
}
# What an import reaches and the stage does not use: a constant, an error's name, the target's kind of a task.
TOO_FAR = {name: {"data/sources"} for name in STAGES} | {
    "collect": {"data/spec.py"},
    "preprocess": {"data/sources", "models/architectures"},
}
LISTED = {
    "data",
    "data/feeding",
    "models",
    "stages",
    "stages/checking",
    "stages/collecting",
    "stages/describing",
    "stages/judging",
    "stages/training",
    "stages/trials",
}  # folders whose files are named one by one
ARTIFACTS = "stages/artifacts.py"  # names places, which decides nothing, and stores models, which does
STORES = {"save_model", "load_model"}


def stage(name: str) -> dict[str, Any]:
    found: dict[str, Any] = GRAPH[name]["do"]
    return found


def imported(path: Path) -> Iterator[str]:
    """The modules of our rooms that a file imports when it runs, inside functions too."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing_only:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import) and id(node) not in typing_only:
            yield from (alias.name for alias in node.names)


def code(name: str) -> set[str]:
    """The sources that can change what a stage makes, as dvc.yaml should list them."""
    seen, todo, found = NO_RESULT | {ARTIFACTS}, [f"stages/{name}.py"], set()
    while todo:
        file = todo.pop()
        if file in seen or TOO_FAR[name] & {file, file.rpartition("/")[0]}:
            continue
        seen.add(file)
        text = (ROOT / file).read_text()
        if any(word in text for word in STORES):
            found.add(ARTIFACTS)
            todo += ["models/catalogue.py", "data/spec.py"]
        if not file.endswith("__init__.py") and file.rpartition("/")[0] in LISTED:
            found.add(file)
        for folder in set(FOLDERS.get(file, [])) - TOO_FAR[name]:
            found.add(folder)
            todo += [f"{folder}/{one.name}" for one in (ROOT / folder).glob("*.py")]
        for module in imported(ROOT / file):
            place = module.replace(".", "/")
            todo += [at for at in (f"{place}.py", f"{place}/__init__.py") if (ROOT / at).is_file()]
    return found


def test_the_graph_has_the_stages_in_order() -> None:
    assert tuple(GRAPH) == STAGES
    assert all(one["foreach"] == "${pipelines}" for one in GRAPH.values())
    assert YAML(typ="safe").load((ROOT / "params.yaml").read_text())["pipelines"] == names(ROOT)


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_name_is_its_file_its_section_and_its_command(name: str) -> None:
    assert (ROOT / "stages" / f"{name}.py").is_file()
    assert stage(name)["cmd"] == f"PATH=.venv/bin:$PATH python -m stages.{name} ${{item}}"
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


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_that_decides_its_result(name: str) -> None:
    listed = {dep for dep in stage(name)["deps"] if "${item}" not in dep}
    assert listed == code(name)


def test_each_stage_reads_what_an_earlier_one_made() -> None:
    made: set[str] = set()
    for name in STAGES:
        read = {dep for dep in stage(name)["deps"] if "${item}" in dep}
        assert read <= made
        made.update(out for one in stage(name)["outs"] for out in ([one] if isinstance(one, str) else one))


def test_tags_are_read_as_gto_reads_them() -> None:
    from gto.tag import parse_name

    for name in ("digits@v1.2.0", "breast_cancer#production#12", "a-b/c@v1.0.0-rc.1!#3", "digits#staging!#4", "v1.0"):
        ours, theirs = tags.NAMES.fullmatch(name), parse_name(name, raise_on_fail=False)
        assert bool(ours) == bool(theirs)
        for group, key in (("name", "name"), ("version", "version"), ("stage", "stage")):
            assert not ours or ours[group] == theirs.get(key)
        assert not ours or int(ours["count"] or 0) == theirs.get("counter", 0)


def test_the_next_version_is_one_minor_up() -> None:
    known = [tags.Version(name, "c", "", "") for name in ("v1.0.0", "v1.9.0", "v1.10.3")]
    assert tags.following(()) == "v1.0.0"
    assert tags.following(tuple(known)) == "v1.11.0"


def test_without_git_nothing_is_released(tmp_path: Path) -> None:
    assert versions.released(tmp_path) == {}
    with pytest.raises(versions.VersionError, match="git init"):
        tags.git(tmp_path, "status")


def test_settings_are_compared_one_by_one() -> None:
    assert graph._flat({"train": {"epochs": 3, "clip": {}}, "task": "x"}) == {
        "train.epochs": 3,
        "train.clip": {},
        "task": "x",
    }


def test_importing_the_door_opens_no_engine() -> None:
    loaded = "import sys, stages.versions; print(sorted({'dvc', 'gto', 'torch', 'ray', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
