"""What the documentation shows works: its site builds, its notebook runs, its pipelines are read without a warning."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen.cli import application
from evergreen.core.config import Section
from evergreen.data import kinds
from evergreen.stages import pipeline

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.slow
def test_the_notebook_runs_and_holds_no_output(tmp_path: Path) -> None:
    notebook = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "accuracy" in ran.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        generated = target.endswith(("reference/cli.md", "reference/pipeline.md"))
        assert "://" in target or generated or (page.parent / target).exists(), target


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text() for page in tmp_path.rglob("*.html")}
    assert "predict_proba" in pages["reference/python.html"]
    assert "evergreen rollback" in pages["reference/cli.html"]
    assert "leakage_checks" in pages["reference/pipeline.html"]
    assert "Fourier" not in pages["reference/catalogue.html"]
    loaded = [
        link for text in pages.values() for link in re.findall(r'<(?:script|link|img)[^>]+="(https?://[^"]+)', text)
    ]
    assert loaded == []


def test_every_command_that_is_named_is_there() -> None:
    commands = {*application.COMMANDS, "init", "check-part", "retire"}
    for page in PAGES:
        named = re.findall(r"(?:`|^|/bin/)evergreen ([a-z][a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= commands, (page.name, set(named) - commands)


def yaml_blocks() -> list[str]:
    """The fenced pieces of pipelines; those of cluster.yaml are none."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    blocks = [block for text in texts for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    return [block for block in blocks if not block.startswith(("address:", "jobs:"))]


@pytest.mark.parametrize("block", yaml_blocks())
def test_every_pipeline_that_is_shown_is_read_without_a_warning(block: str, tmp_path: Path, caplog) -> None:
    needed = {"task": "classification", "collect": "{uri: people.csv}", "preprocess": "{target: churned}"}
    missing = [f"{key}: {value}" for key, value in needed.items() if not re.search(rf"^{key}:", block, re.MULTILINE)]
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "shown.yaml").write_text("\n".join([*missing, block]), encoding="utf-8")
    assert pipeline.read("shown", tmp_path).name == "shown"
    assert caplog.messages == []


def test_the_table_of_kinds_names_every_kind_and_option() -> None:
    text = (DOCS / "guides" / "prepare.md").read_text(encoding="utf-8")
    table = text.split("| kind | is |")[1].split("\n\n")[0].splitlines()[2:]
    rows = {name: row for row in table for name in row.split("|")[1].strip().split(", ")}
    assert sorted(rows) == kinds.names()
    assert [f"{name} {one}" for name in rows for one in kinds.find(name).OPTIONS if f"`{one}`" not in rows[name]] == []


def test_the_changelog_names_every_key_that_was_renamed() -> None:
    told = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for config in Section.__subclasses__():
        for old, new in config.RENAMED.items():
            rows = [row for row in told.splitlines() if f"`{old}`" in row and f"`{new}`" in row]
            assert rows, (config.__name__, old, new)


@pytest.mark.parametrize(
    ("page", "head", "config"),
    [("training", "| setting | what", "TrainConfig"), ("serving", "| name | def", "DeployConfig")],
)
def test_a_table_of_settings_names_keys_that_are_there(page: str, head: str, config: str) -> None:
    text = (DOCS / "guides" / f"{page}.md").read_text(encoding="utf-8")
    rows = text.split(head)[1].split("\n\n")[0].splitlines()[2:]
    known = next(one for one in Section.__subclasses__() if one.__name__ == config).known_keys()
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])} <= set(known)
