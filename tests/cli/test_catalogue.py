"""docs/reference/catalogue.md says what the docstrings say, and a person's data finds what suits it."""

import json

import pytest

from evergreen.cli import main
from evergreen.cli.commands import catalogue
from evergreen.models.registry import find_architecture, list_architectures, list_tasks


def test_the_page_is_up_to_date():
    assert catalogue.PAGE.read_text(encoding="utf-8") == catalogue.render_page(), (
        "run: python -m evergreen.cli.commands.catalogue"
    )


@pytest.mark.parametrize("name", list_architectures())
def test_an_architecture_promises_everything(name):
    said = catalogue.parse_docstring(find_architecture(name))
    assert all(said[part] for part in ("title", "idea", "In", "Out", "Choose", "At size=1"))


def test_every_application_is_served():
    lines = catalogue._applications().splitlines()[2:]
    assert len(lines) > 20
    for line in lines:
        assert line.split("|")[3].strip() in list_tasks()
        assert line.split("|")[4].strip(), line


def test_what_suits_a_table(tmp_path, capsys):
    rows = [
        "height,colour,kind",
        *(f"{i / 7},{'red' if i % 3 else 'blue'},{'big' if i > 40 else 'small'}" for i in range(80)),
    ]
    (tmp_path / "things.csv").write_text("\n".join(rows))
    assert main.main(["catalogue", "--from", str(tmp_path / "things.csv"), "--target", "kind", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in found["architectures"]]
    assert found["task"] == "classification"
    assert names[0] == "linear"
    assert {"mlp", "ft_transformer"} <= set(names)
    assert not {"cnn", "gru", "unet"} & set(names)
