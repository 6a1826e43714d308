"""What counts as other code: a raised VERSION, a project's own part that says something else; never words about it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from evergreen.core import parts
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.pages import version as page_version
from evergreen.stages import code_version as module
from evergreen.stages.code_version import accepting_architectures, code_version, describe_change
from evergreen.stages.engines import dvc_code
from evergreen.stages.engines.dvc_code import code_versions
from evergreen.stages.pipeline import STAGES, read

OWN = '''
"""A network of a project's own."""
from evergreen.models.base import Architecture, SEQUENCE_KINDS

class Mine(Architecture):
    """Reads steps."""

    VERSION = 3
    ACCEPTS = SEQUENCE_KINDS | {"angle"}

    def forward(self, batch):
        return batch["x"]  # as it is
'''


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    parts.adopt({})


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of Evergreen's sources that may be edited."""
    for room in ("data", "models", "stages"):
        folders = shutil.ignore_patterns("store", "__pycache__", "*.css")
        shutil.copytree(module.PACKAGE / room, tmp_path / "evergreen" / room, ignore=folders)
    monkeypatch.setattr(module, "IMPORT_ROOT", tmp_path)
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "evergreen")
    return tmp_path / "evergreen"


@pytest.fixture
def pipelines(tmp_path: Path) -> list[tuple[str, Paths]]:
    """A pipeline of pictures and one of numbers, both chosen already."""
    (tmp_path / "pipelines").mkdir()
    made = []
    for name, kind in (("pictures", "image"), ("table", "number")):
        paths = Paths(tmp_path, name)
        paths.pipeline.write_text("task: classification\ncollect: {uri: x.csv}\npreprocess: {target: y}\n")
        write_json(paths.raw / "source.json", {"reader": "csv 1"})
        write_json(paths.ready / "spec.json", {"inputs": {kind: {"kind": kind}}, "target": {"kind": "category"}})
        write_json(paths.select, {"architecture": "cnn" if kind == "image" else "mlp"})
        made.append((name, paths))
    return made


def versions(pipelines: list[tuple[str, Paths]]) -> dict[str, str]:
    """The code version of each stage of each pipeline, read anew."""
    module._text.cache_clear()
    return {
        f"{stage}@{name}": text
        for name, paths in pipelines
        for stage, text in code_versions(read(name, paths.root), paths).items()
    }


def moved(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    return {name: describe_change(before[name], after[name]) for name in before if before[name] != after[name]}


def edit(file: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, file.read_text(), count=1)
    assert count == 1
    file.write_text(text)


def test_a_version_names_what_a_stage_uses_and_nothing_else(pipelines):
    known = versions(pipelines)
    used = {name: re.sub(r" \d+$", "", text, flags=re.MULTILINE).splitlines() for name, text in known.items()}
    assert used["collect@pictures"] == ["stage collect", "source csv"]
    prepared = ["kind category", "kind image", "task classification"]
    assert used["preprocess@pictures"] == ["stage preprocess", *prepared]
    for stage in ("tune", "train", "validate"):
        assert used[f"{stage}@pictures"] == [f"stage {stage}", *prepared, "architecture cnn"]
    assert "architecture vit 1\n" in known["select@pictures"]
    assert "architecture vit" not in known["select@table"]
    assert {name.partition("@")[0] for name in known} == set(STAGES)


def test_the_report_alone_counts_its_templates(pipelines, tmp_path, monkeypatch):
    before = versions(pipelines)
    shutil.copytree(page_version.TEMPLATES, tmp_path / "templates")
    monkeypatch.setattr(page_version, "TEMPLATES", tmp_path / "templates")
    assert versions(pipelines) == before
    (tmp_path / "templates" / "page.html").write_text("<p>another page</p>")
    after = versions(pipelines)
    assert {name.partition("@")[0] for name in after if after[name] != before[name]} == {"report"}


def test_before_the_first_run_only_what_is_known_counts(tmp_path):
    (tmp_path / "pipelines").mkdir()
    paths = Paths(tmp_path, "new")
    paths.pipeline.write_text("task: classification\ncollect: {uri: x.csv}\npreprocess: {target: y}\n")
    assert re.findall("(.*) \\d+\n", versions([("new", paths)])["train@new"]) == ["stage train", "task classification"]


def test_the_architectures_that_are_named_count_alone(pipelines):
    _, paths = pipelines[0]
    paths.pipeline.write_text(paths.pipeline.read_text() + "select: {architectures: [cnn, vit]}\n")
    text = versions(pipelines[:1])["select@pictures"]
    assert re.findall(r"architecture (.*) \d", text) == ["cnn", "linear", "vit"]


def test_words_about_the_code_change_nothing(source, pipelines):
    before = versions(pipelines)
    for file in source.rglob("*.py"):
        file.write_text("# a comment more\n" + file.read_text().replace('"""', '"""Otherwise said: ', 1))
    assert versions(pipelines) == before


LATER = "select tune train validate"
RAISED = [  # file, stages, pipeline
    ("models/architectures/cnn.py", LATER, "pictures", "architecture cnn"),
    ("models/architectures/vit.py", "select", "pictures", "architecture vit"),
    ("data/kinds/number.py", f"preprocess {LATER}", "table", "kind number"),
    ("data/sources/csv.py", "collect", "", "source csv"),
    ("models/tasks/classification.py", f"preprocess {LATER}", "", "task classification"),
    ("stages/train/stage.py", "train", "", "stage train"),
]


def raise_version(file: Path) -> None:
    """Set the VERSION of a part or a stage to 99, where it has one or not."""
    if re.search(r"^ *VERSION\b", file.read_text(), re.MULTILINE):
        edit(file, r"(\n *VERSION\b.*?= )\d+", r"\g<1>99")
    else:
        edit(file, r"\n( *)(ACCEPTS|ENDINGS|TARGETS)\b", r"\n\1VERSION = 99\n\1\2")


@pytest.mark.parametrize(("file", "stages", "only", "part"), RAISED)
def test_a_raised_version_makes_stale_what_uses_it(source, pipelines, file, stages, only, part):
    before = versions(pipelines)
    raise_version(source / file)
    names = [only] if only else ["pictures", "table"]
    changed = moved(before, versions(pipelines))
    assert set(changed) == {f"{stage}@{name}" for stage in stages.split() for name in names}
    for said in changed.values():
        assert re.fullmatch(rf"{part}: version \d+ → 99", said)


def test_the_files_follow_whatever_they_rest_on(source, pipelines, monkeypatch):
    monkeypatch.setattr(dvc_code, "PACKAGE", source)
    name, paths = pipelines[0]

    def write() -> dict[str, str]:
        for cached in (module._text, dvc_code._package_stats):  # as in another process
            cached.cache_clear()
        dvc_code.write_code_versions(read(name, paths.root), paths)
        return {stage: dvc_code.version_file(paths, stage).read_text() for stage in STAGES}

    first = write()
    dvc_code.version_file(paths, "train").write_text("by another hand")
    dvc_code.version_file(paths, "tune").unlink()
    assert write() == first
    raise_version(source / "data" / "sources" / "csv.py")
    assert "source csv 99" in write()["collect"]
    write_json(paths.select, {"architecture": "vit"})
    assert "architecture vit" in write()["train"]
    paths.pipeline.write_text(paths.pipeline.read_text() + "select: {architectures: [cnn]}\n")
    assert re.findall("architecture (.*) 1", write()["select"]) == ["cnn"]
    called = []
    monkeypatch.setattr(dvc_code, "code_versions", lambda *_: called.append(1))
    write()
    assert called == []  # nothing is read again


def test_a_choice_whose_plan_was_cut_off_is_made_again_until_it_is_whole(pipelines):
    name, paths = pipelines[0]

    def after(stage: str, cuts: int) -> dict[str, str]:
        write_json(paths.select, {"architecture": "cnn", "cuts": cuts})
        dvc_code.write_code_versions(read(name, paths.root), paths, after=stage)
        return {one: dvc_code.version_file(paths, one).read_text() for one in STAGES}

    first = after("", 0)
    assert after("select", 1) == first  # it is recorded with what it was made with
    second = after("tune", 1)
    assert {one for one in STAGES if first[one] != second[one]} == {"select"}
    assert describe_change(first["select"], second["select"]) == "its plan was cut off"
    assert after("select", 1) == after("tune", 1) == second  # the next run came to the end of the plan
    third = after("", 2)  # or was cut off once more
    assert {one for one in STAGES if third[one] != second[one]} == {"select"}


def test_one_more_architecture_makes_select_stale_where_it_fits(source, pipelines, monkeypatch):
    before = versions(pipelines)
    (source / "models/architectures/newest.py").write_text(
        "from evergreen.models.base import Architecture\n\nclass Newest(Architecture):\n    ACCEPTS = {'image'}\n"
    )
    builtin = parts.builtin
    monkeypatch.setattr(
        parts, "builtin", lambda group: builtin(group) | {"newest"} if "arch" in group else builtin(group)
    )
    assert moved(before, versions(pipelines)) == {"select@pictures": "architecture newest: added"}


def test_what_an_architecture_accepts_is_read_without_torch_as_torch_has_it():
    from evergreen.models.registry import find_architecture

    for name in parts.names("architectures"):
        for attribute in ("ACCEPTS", "NEEDS_ONE_OF"):
            found = module._attribute("architecture", name, attribute)
            assert found == getattr(find_architecture(name), attribute), name


@pytest.mark.parametrize("part", module.GROUPS)
def test_every_part_carries_a_version(part):
    for name in parts.names(module.GROUPS[part]):
        assert isinstance(module._attribute(part, name, "VERSION"), int), name


def test_a_projects_own_part_counts_by_what_it_says(source):
    def version(text: str) -> str:
        parts.adopt({"architectures/mine": text})
        return code_version("train", {"architecture": ["mine"]})

    first = version(OWN)
    assert re.fullmatch(r"stage train \d+\narchitecture mine 3 [0-9a-f]{12}\n", first)
    assert version(OWN.replace("as it is", "so be it").replace("Reads steps.", "Steps are read.")) == first
    other = version(OWN.replace('batch["x"]', 'batch["y"]'))
    assert describe_change(first, other) == "architecture mine: its file changed"
    assert "architecture mine: version 3 → 4" in describe_change(first, version(OWN.replace("3", "4")))
    assert "mine" in accepting_architectures(["angle", "text"])
    assert "mine" not in accepting_architectures(["image"])
    assert version("class :") != first  # a file that cannot be read counts, too
