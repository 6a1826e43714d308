"""Every command that README and docs show runs, page by page, in the project that the tutorial makes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<kind>sh|python)\n(?P<code>.*?)^```", re.S | re.M)
NOT_RUN = 12  # blocks with a reason in the page's source
GUIDES = ("collect", "prepare", "training", "parts", "serving", "releases", "operating")
DOCS = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *DOCS]
SHORT = "s/^select: .*/select: {architectures: [linear]}/; s/^tune: .*/tune: {time_budget_s: 0}/"
EVERGREEN = """#!/bin/sh
{python} -m evergreen.cli.main "$@" || exit $?
[ "$1" != new ] || sed -i '{short}' pipelines/*.yaml
"""
CURL = """#!/bin/bash
url=$(evergreen status --json | {python} -c 'import json, sys; print(json.load(sys.stdin)["endpoint"])')
exec {curl} --fail "${{@/http:\\/\\/127.0.0.1:8000/$url}}"
"""


def script(page: str) -> str:
    """The page's commands as one script of bash; Python is one process a block."""
    parts = ["set -euo pipefail"]
    for block in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        if not block["why"]:
            code, file = block["code"].replace(" …", ""), re.match(r"# ((\S+)/\S+\.py)\n", block["code"])
            run = f"mkdir -p {file[2]}; cat > {file[1]}" if file else "python -"
            parts.append(code if block["kind"] == "sh" else f"{run} <<'BLOCK'\n{code}BLOCK")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a page's script in a folder, with this interpreter's Evergreen on the path."""
    tools = tmp_path_factory.mktemp("bin")
    programs = {"evergreen": EVERGREEN, "curl": CURL, "python": '#!/bin/sh\nexec {python} "$@"\n'}
    for name, text in programs.items():
        (tools / name).write_text(text.format(python=sys.executable, curl=shutil.which("curl"), short=SHORT))
        (tools / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
    variables = kept | {"PATH": f"{tools}:{kept['PATH']}", "PYTHONPATH": str(ROOT)}
    variables |= {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(page: str, folder: Path) -> str:
        done = subprocess.run(["bash", "-c", script(page)], cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def shop(shell, tmp_path_factory):
    """The tutorial's project after the tutorial, with folders of files that guides name."""
    folder = tmp_path_factory.mktemp("docs")
    try:
        said = shell("docs/tutorial.md", folder)
        assert "churn v1.0.0 is released" in said
        assert "nothing is stale" in said
        yield folder / "shop"
    finally:
        stop = [sys.executable, "-m", "evergreen.cli.main", "stop"]
        subprocess.run(stop, cwd=folder / "shop", env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_the_readme_shows_what_the_tutorial_runs() -> None:
    shown = [
        line.partition(" #")[0].strip() for line in script("README.md").splitlines() if line.startswith("evergreen ")
    ]
    assert len(shown) == 4
    assert set(shown) <= set(script("docs/tutorial.md").splitlines())


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_s_commands_run(guide, shell, shop) -> None:
    if guide == "collect":
        make_folders(shop)
    shell(f"docs/guides/{guide}.md", shop)


def test_the_other_pages_commands_run(shell, shop) -> None:
    for page in DOCS:
        if page not in ("docs/tutorial.md", *(f"docs/guides/{guide}.md" for guide in GUIDES)):
            shell(page, shop)
    shown = re.search(r"```python\n(import evergreen\n.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    code = f"X, y = [[0.0], [1.0]] * 20, ['a', 'b'] * 20\n{shown[1]}"
    subprocess.run([sys.executable, "-c", code], cwd=shop, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_what_is_not_run_says_why() -> None:
    blocks = [block for page in PAGES for block in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))]
    assert sum(bool(block["why"]) for block in blocks) == NOT_RUN


def make_folders(shop: Path) -> None:
    """Folders of images, texts, recordings and a network, as small as serves."""
    import io
    import wave

    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)

    def put(path: str, data: bytes) -> None:
        (shop / path).parent.mkdir(parents=True, exist_ok=True)
        (shop / path).write_bytes(data)

    for number in range(24):
        image, sound = io.BytesIO(), io.BytesIO()
        Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(image, "PNG")
        with wave.open(sound, "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(draw.integers(-9000, 9000, 4000, dtype=np.int16).tobytes())
        put(f"photos/{('cat', 'dog')[number % 2]}/{number}.png", image.getvalue())
        put(f"recordings/{('engine', 'horn')[number % 2]}/{number}.wav", sound.getvalue())
        put(f"articles/{('sport', 'science')[number % 2]}/{number}.txt", f"Report {number} of a long day".encode())
    edges = "".join(f"{number},{(number * 7 + 1) % 24}\n" for number in range(24))
    put("network/edges.csv", f"source,target\n{edges}".encode())
    put("network/nodes.csv", ("id,age,label\n" + "".join(f"{n},{n % 5},{'ab'[n % 2]}\n" for n in range(24))).encode())
