"""One word, four places: a stage's name is its file, its section, its stage in the graph, and its step in Prefect."""

import inspect
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from evergreen.cli import application
from evergreen.cli.output import CommandResult
from evergreen.stages.pipeline import CONFIGS, SECTIONS, STAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_sections_are_files_and_steps():
    from evergreen.flows import steps  # Prefect takes seconds to import

    for name in SECTIONS:
        assert CONFIGS[name].model_config["frozen"]
        assert getattr(steps, name).name == name


def test_the_graph_has_the_stages():
    graph = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
    assert tuple(graph["stages"]) == ("versions", *STAGES)
    for name, stage in graph["stages"].items():
        assert f"evergreen stage {name} ${{item}}" in stage["do"]["cmd"]


def test_the_lifecycle_takes_them_in_order():
    from evergreen.flows.lifecycle import _bring_up_to_date

    body = inspect.getsource(_bring_up_to_date)
    places = [body.index(f" {name}(run)") for name in (*STAGES, "release", "deploy")]
    assert places == sorted(places)


def test_each_command_is_a_function_with_one_sentence():
    for name in application.COMMANDS:
        function = application.load_command(name)
        assert inspect.getdoc(function).partition("\n")[0] == application.read_summary(name)
        assert inspect.signature(function, eval_str=True).return_annotation is CommandResult
        assert len(application.read_summary(name)) <= 62  # so that `evergreen --help` shows all of it in 80 columns
