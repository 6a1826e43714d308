"""What the documentation shows works: its site builds, its notebook runs, its pipelines are read without a warning."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


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


def test_the_site_builds_without_a_warning_and_asks_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text() for page in tmp_path.rglob("*.html")}
    assert "predict_proba" in pages["reference/python.html"]
    assert "evergreen rollback" in pages["reference/cli.html"]
    assert "Fourier" not in pages["reference/catalogue.html"]
    loaded = [
        link for text in pages.values() for link in re.findall(r'<(?:script|link|img)[^>]+="(https?://[^"]+)', text)
    ]
    assert loaded == []
