"""A pipeline's file takes new lines and loses nothing: comments, quotes, order and layout stay."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from evergreen.core.errors import PipelineError
from evergreen.core.yaml_edit import add_schema_section

SAID = {
    "age": {"kind": "number", "min": -1.5, "max": 90, "missing": 0},
    "my plan": {"kind": "category", "allowed": ["basic", "yes", "3 days", True]},
    "no": {"pattern": r'\d{5}"\\'},
}
LINES = (
    "age: {kind: number, min: -1.5, max: 90, missing: 0}",
    '"my plan": {kind: category, allowed: [basic, "yes", "3 days", true]}',
    r'"no": {pattern: "\\d{5}\"\\\\"}',
)
TOP, END = "# mine\ntask: regression # why\n", "select: {time_budget_s: 20}  # s\n\n# the end\n"


def block(indent: str) -> str:
    return "".join(f"{indent}{line}\n" for line in LINES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            'preprocess: {target: "y", kinds: {a: [1, 2]}}  # two columns\n',
            f'preprocess:  # two columns\n  target: "y"\n  kinds: {{a: [1, 2]}}\n  schema:\n{block("    ")}',
        ),
        (
            "preprocess:\n    target: y # what\n    kinds:\n        a: text  # t\n\n# end\n",
            "preprocess:\n    target: y # what\n    kinds:\n        a: text  # t\n"
            f"    schema:\n{block('      ')}\n# end\n",
        ),
        (
            "preprocess:\n  schema:  # held\n    z: {min: 1}  # mine\n  target: y\n",
            f"preprocess:\n  schema:  # held\n    z: {{min: 1}}  # mine\n{block('    ')}  target: y\n",
        ),
        (
            "preprocess:\n  target: y\n  schema: {z: {min: 1}} # s\n",
            f"preprocess:\n  target: y\n  schema: {{z: {{min: 1}}, {', '.join(LINES)}}} # s\n",
        ),
        ("preprocess: {schema: {}, target: y}\n", f"preprocess: {{schema: {{{', '.join(LINES)}}}, target: y}}\n"),
        (
            "preprocess: {target: y,  # what\n  seed: 1}\n",
            f"preprocess: {{target: y,  # what\n  seed: 1, schema: {{{', '.join(LINES)}}}}}\n",
        ),
        (
            "preprocess:\n  target: |\n    y\n",
            f"preprocess:\n  target: |\n    y\n  schema:\n{block('    ')}",
        ),
    ],
)
def test_lines_go_in_and_all_else_stays(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(TOP + before + END)
    add_schema_section(path, SAID)
    assert path.read_text() == TOP + after + END
    read = YAML(typ="safe").load(path)["preprocess"]["schema"]
    assert {name: read[name] for name in SAID} == SAID


def test_a_file_may_end_without_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("preprocess: {target: y}")
    add_schema_section(path, {"x": {"min": 1}})
    assert path.read_text() == "preprocess:\n  target: y\n  schema:\n    x: {min: 1}\n"


@pytest.mark.parametrize(
    "text",
    [
        "task: x\n",
        "preprocess: y\n",
        "preprocess:\n",
        "preprocess:\n  target: y\n  schema: &here\n    z: {min: 1}\nother: *here\n",
    ],
)
def test_what_cannot_be_amended_safely_stays_and_the_lines_are_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError, match=r"yourself:\n    x: \{min: 1\}"):
        add_schema_section(path, {"x": {"min": 1}})
    assert path.read_text() == text
