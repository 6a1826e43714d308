"""Write the pages of the site that follow from the code: the command line, and the keys of a pipeline."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from evergreen.cli import application, main
from evergreen.stages import pipeline

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(README\.md|CONTRIBUTING\.md|benchmarks/[^)]*)\)")

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
WORDS |= {"array": "list", "object": "mapping"}

PIPELINE = """# Pipeline file

One file `pipelines/NAME.yaml` describes one pipeline. Its keys are `task` (the task's name, or a mapping with the name
and the task's options), one section a stage, and those of the first table. `evergreen schema --json` prints the JSON
Schema, with which an editor completes and checks the file."""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/cli.md", content=render_commands()))
    files.append(File.generated(config, "notebook.md", content=render_notebook()))
    files.append(File.generated(config, "reference/pipeline.md", content=render_pipeline()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Name files of the repository that are no page, instead of linking them; the notebook is a page."""
    return OUTSIDE.sub(r"`\2`", markdown).replace("notebook.ipynb)", "notebook.md)")


def render_notebook() -> str:
    """Render the notebook's cells as text and code."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in sources) + "\n"


def render_commands() -> str:
    """Render what `evergreen COMMAND --help` prints, for each command."""
    parts = ["# Command line"]
    for name in application.COMMANDS:
        if name in application.PASSED_ON:  # their own help
            continue
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            main.main([name, "--help"])
        parts.append(f"## evergreen {name}\n\n```text\n{shown.getvalue().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def render_pipeline() -> str:
    """Render the JSON Schema of a pipeline as a table for each section."""
    sections = pipeline.json_schema()["properties"]
    others = {name: part for name, part in sections.items() if name != "task" and "properties" not in part}
    parts = [PIPELINE, _table(others)]
    for name, section in sections.items():
        if "properties" in section:
            parts.append(f"## {name}\n\n{section.get('description', '')}\n\n{_table(section['properties'])}")
    return "\n\n".join(parts) + "\n"


def _table(properties: dict[str, Any]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, part in properties.items():
        if not part.get("deprecated"):
            value = part.get("default")
            default = "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"
            about = " ".join(part.get("description", "").split()).replace("|", "\\|")
            lines.append(f"| `{name}` | {_type(part)} | {default} | {about} |")
    return "\n".join(lines)


def _type(part: dict[str, Any]) -> str:
    """Name the values that a key takes, in words, with their bounds."""
    if "enum" in part:
        return " · ".join(str(value) for value in part["enum"] if value is not None)
    if "anyOf" in part:
        return " or ".join(filter(None, dict.fromkeys(map(_type, part["anyOf"]))))
    kinds = part.get("type", [])
    names = [WORDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind in WORDS]
    limits = [f"{sign} {part[key]:,}" for key, sign in BOUNDS.items() if key in part]
    return ", ".join([" or ".join(names), *limits]).strip(", ")
