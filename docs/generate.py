"""Write the pages of the site that follow from the code: the command line, and the keys of a pipeline."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from evergreen.cli import main
from evergreen.stages import pipeline

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(README\.md|CONTRIBUTING\.md|benchmarks/[^)]*)\)")


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
    for name in main.COMMANDS:
        if name == "dvc":  # DVC's own help
            continue
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            main.main([name, "--help"])
        parts.append(f"## evergreen {name}\n\n```text\n{shown.getvalue().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def render_pipeline() -> str:
    """Render the JSON Schema of a pipeline as a table for each section."""
    if not hasattr(pipeline, "json_schema"):
        return "# Pipeline file\n"
    schema = pipeline.json_schema()
    parts = [
        "# Pipeline file",
        "One file `pipelines/NAME.yaml` describes one pipeline. Each section is a key at its top; all have defaults.",
        _table(schema, schema["properties"]),
    ]
    for name, section in schema["properties"].items():
        found = _resolve(schema, section)
        if "properties" in found:
            parts.append(f"## {name}\n\n{found.get('description', '')}\n\n{_table(schema, found['properties'])}")
    return "\n\n".join(parts) + "\n"


def _resolve(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The definition that a part refers to, itself or by one of its alternatives."""
    for one in (part, *part.get("allOf", ()), *part.get("anyOf", ())):
        if "$ref" in one:
            return schema["$defs"][one["$ref"].rpartition("/")[2]]
    return part


def _table(schema: dict[str, Any], properties: dict[str, Any]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, part in properties.items():
        default = f"`{json.dumps(part['default'], ensure_ascii=False)}`" if "default" in part else ""
        about = " ".join(part.get("description", "").split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {_type(schema, part)} | {default} | {about} |")
    return "\n".join(lines)


def _type(schema: dict[str, Any], part: dict[str, Any]) -> str:
    if "enum" in part:
        return " · ".join(map(str, part["enum"]))
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(schema, one) for one in part["anyOf"] if one.get("type") != "null"))
    bounds = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
    limits = ", ".join(f"{sign}{part[key]:g}" for key, sign in bounds.items() if key in part)
    return f"{part.get('type', 'section')} {limits}".strip()
