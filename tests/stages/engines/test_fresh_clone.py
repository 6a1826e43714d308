"""In a fresh clone rows go where they went: what DVC recorded of them is fetched, pulled or not."""

from pathlib import Path

import pytest

from evergreen.core.paths import Paths
from evergreen.data.prepare.assignment import FILE
from evergreen.stages.artifacts import folder_version
from evergreen.stages.engines import project, versions
from evergreen.stages.pipeline import perform, read
from tests.stages.engines.small_clone import PERSON, dvc, sh

PIPELINE = "task: classification\ncollect: {uri: t.csv}\npreprocess: {target: y}\n"


@pytest.mark.slow
def test_a_fresh_clone_splits_alike_whether_pulled_or_not(tmp_path: Path) -> None:
    root, paths = tmp_path / "first", Paths(tmp_path / "first", "t")
    root.mkdir()
    sh(root, "git", "init", "-q", "-b", "main")
    project.create(root)
    paths.pipeline.parent.mkdir(exist_ok=True)
    paths.pipeline.write_text(PIPELINE)
    lines = [f"{number}.5,{'ab'[number % 3 == 0]}\n" for number in range(300)]
    for count in (200, 300):  # the second version of the data
        (root / "t.csv").write_text("x,y\n" + "".join(lines[:count]))
        for stage in ("collect", "preprocess"):
            perform(stage, read("t", root), paths)
            versions.commit(paths, stage)
    dvc(root, "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    sh(root, "git", "add", "-A")
    sh(root, "git", *PERSON, "commit", "-qm", "split")
    dvc(root, "push", "-q", "collect@t", "preprocess@t")
    places = {}
    for name in ("pulled", "fresh", "alone"):
        sh(tmp_path, "git", "clone", "-q", str(root), name)
        paths = Paths(tmp_path / name, "t")
        if name == "pulled":
            dvc(paths.root, "pull", "-q", "collect@t", "preprocess@t")
        if name == "alone":
            (tmp_path / "remote").rename(tmp_path / "away")
        perform("collect", read("t", paths.root), paths)
        notes = " ".join(perform("preprocess", read("t", paths.root), paths)["notes"])
        places[name] = folder_version(paths.ready), (paths.described / FILE).read_bytes()
        assert ("where rows went before is not known here" in notes) == (name == "alone")
    record = (root / "data/store/t/described" / FILE).read_bytes()
    assert places["pulled"] == places["fresh"] == (folder_version(Paths(root, "t").ready), record)
