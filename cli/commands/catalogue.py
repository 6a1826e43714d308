"""`evergreen catalogue`: what a pipeline can be made of, and which of it suits a person's data.

Also docs/reference/catalogue.md. Everything is read from the docstrings of architectures, tasks, kinds and sources;
`python -m evergreen.cli.commands.catalogue` writes the page anew, and a test fails while it is out of date.
"""

import ast
import contextlib
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from evergreen.cli.output import CommandResult
from evergreen.core import parts
from evergreen.core.errors import PipelineError
from evergreen.core.paths import find_root

ROOMS = Path(__file__).resolve().parents[2]
PAGE = ROOMS / "docs" / "reference" / "catalogue.md"
FIRST_SENTENCE = re.compile(r"(.*?(?<! al)(?<! cf)[.:]) (.*)", re.DOTALL)
PARTS = ("In:", "Out:", "Choose", "At size=1:")  # lines of an architecture's docstring that promise something


def catalogue(
    source: Annotated[str, typer.Option("--from", metavar="FILE", help="Show the parts that fit this data.")] = "",
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict, with --from.")] = "",
) -> CommandResult:
    """Show the parts of pipelines, or those that suit a table."""
    if source or target:
        return suitable(source, target)
    with contextlib.suppress(PipelineError):  # outside of a project Evergreen's own are shown
        parts.use(find_root())
    value = {group: [_card(group, name) for name in parts.names(group)] for group in parts.FOLDERS}
    lines = []
    for part, cards in value.items():
        lines.append(part)
        for card in cards:
            accepts = f" [{', '.join(card['accepts'])}]".replace("*", "any kind") if "accepts" in card else ""
            lines.append(f"  {card['name']:<20}{card['about']}{accepts}")
    lines.append("for your own data: evergreen catalogue --from FILE --target COLUMN")
    return CommandResult(value, "\n".join(lines))


def suitable(source: str, target: str) -> CommandResult:
    """Show the task that the target suggests and the architectures that select would compare, with when to use each."""
    from evergreen.cli.commands.new import read_head, relative_uri
    from evergreen.data.prepare import suggest
    from evergreen.data.sources import open_source
    from evergreen.models import registry as parts_of

    if not (source and target):
        raise PipelineError("--from and --target go together", fix="evergreen catalogue --from FILE --target COLUMN")
    root = find_root()
    parts.use(root)
    guess = suggest.suggest_pipeline(read_head(open_source(relative_uri(source, root), root)), target)
    task = parts_of.find_task(guess["task"])
    kinds = task.TARGETS if task.IS_FORECAST else sorted(set(guess["kinds"].values()))  # a forecast reads its history
    inputs = {kind: _tensor(kind) for kind in kinds}
    names = parts_of.buildable(inputs, guess["task"])
    architectures = [
        {"name": name, "choose": parse_docstring(parts_of.find_architecture(name)).get("Choose", "")} for name in names
    ]
    value = {"task": guess["task"], "kinds": guess["kinds"], "architectures": architectures, "notes": guess["notes"]}
    lines = [f"task: {guess['task']}, from {', '.join(inputs)}"]
    lines += [f"  {part['name']:<20}{part['choose']}" for part in architectures]
    lines += [f"  note: {note}" for note in guess["notes"]]
    return CommandResult(value, "\n".join([*lines, "select races them all: evergreen new NAME --from … --target …"]))


def _tensor(kind: str, state: dict[str, Any] | None = None) -> Any:
    """Stand in for an input of a kind, as far as a network asks what tensors it gets."""
    from evergreen.data.kinds import find

    return SimpleNamespace(kind=find(kind).ENCODES_AS or kind, state=state or {})


def parse_docstring(part: type) -> dict[str, str]:
    """Split a docstring into "title", "idea", "table" (aligned lines) and, of an architecture, its PARTS."""
    lines = inspect.cleandoc(part.__doc__ or "").splitlines()
    table = [line for line in lines if "  " in line.strip()]
    text = " ".join(" ".join(line for line in lines if line not in table).split())
    marks = sorted((text.find(mark), mark) for mark in PARTS if mark in text)
    starts = [*(at for at, _ in marks), len(text)]
    first = text[: starts[0]].strip()
    sentence = FIRST_SENTENCE.fullmatch(first + " ")
    title, idea = sentence.groups() if sentence else (first, "")
    fields = {"title": title, "idea": idea.strip(), "table": "\n".join(table)}
    for (start, mark), end in zip(marks, starts[1:], strict=True):
        fields[mark.rstrip(":")] = text[start + (0 if mark == "Choose" else len(mark)) : end].strip()
    return fields


def _card(group: str, name: str) -> dict[str, Any]:
    """Read a part's name, the first line of its docstring and, of an architecture, the kinds of input it accepts."""
    module = ast.parse(parts.read_text(group, name))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    own: list[ast.Module | ast.ClassDef] = [module, *classes]
    text = next(filter(None, map(ast.get_docstring, own)), "")
    card: dict[str, Any] = {"name": name, "about": text.split("\n")[0]}
    if group == "architectures":
        from evergreen.models import registry as parts_of

        card["accepts"] = sorted(parts_of.find_architecture(name).ACCEPTS)
    return card


def render_page() -> str:
    """Render docs/reference/catalogue.md."""
    from evergreen.models import registry as parts_of

    lines = [
        "# The catalogue",
        "What a pipeline can be made of. Written from the docstrings by `python -m evergreen.cli.commands.catalogue`; "
        "scores on real data beside simple opponents stand in "
        "[benchmarks/REFERENCE.md](../../benchmarks/REFERENCE.md).",
        "## From what you want to what serves it",
        _applications(),
        "## Architectures",
    ]
    for name in parts_of.list_architectures():
        lines.append(_architecture(name, parts_of.find_architecture(name)))
    lines.append("## Tasks")
    lines += [_task(name, parts_of.find_task(name)) for name in parts_of.list_tasks()]
    for group in ("kinds", "sources"):
        cards = [_card(group, name) for name in parts.names(group)]
        lines.append(
            f"## {group.capitalize()}\n\n" + "\n".join(f"- **{one['name']}**: {one['about']}" for one in cards)
        )
    return "\n\n".join(lines) + "\n"


def _applications() -> str:
    from evergreen.models import registry as parts_of

    lines = ["| what you want | inputs | task | architectures | mind |", "|---|---|---|---|---|"]
    for task in parts_of.list_tasks():
        for wanted, kinds, advice in parts_of.find_task(task).APPLICATIONS:
            inputs = {kind: _tensor(kind, {"config": {}}) for kind in kinds.split()}  # a pretrained model's, as well
            fitting = parts_of.compatible(inputs, task)
            names = ", ".join(name for name in fitting if not parts_of.find_architecture(name).IS_BASELINE)
            lines.append(f"| {wanted} | {kinds.replace(' ', ', ')} | {task} | {names} | {advice} |")
    return "\n".join(lines)


def _architecture(name: str, kind: Any) -> str:
    from evergreen.models import registry as parts_of

    doc = parse_docstring(kind)
    space = ", ".join(f"`{option}`" for option in kind.SEARCH_SPACE)
    own = ", ".join(f"`{option}: {json.dumps(value)}`" for option, value in parts_of.options(kind).items())
    lines = [
        f"### {name}",
        f"**{doc['title']}** {doc['idea']}",
        f"- In: {doc.get('In', '')} Out: {doc.get('Out', '')}",
        f"- {doc.get('Choose', '')}",
        f"- At size=1: {doc.get('At size=1', '')}",
        f"- Options: {own}. Searched: {space}.",
    ]
    if kind.EXTRA:
        lines.append(f"- Needs `{kind.EXTRA}`.")
    table = ["", "```", *doc["table"].splitlines(), "```"] if doc["table"] else []
    return "\n".join([*lines[:2], *table, "", *lines[2:]])


def _task(name: str, job: Any) -> str:
    from evergreen.models import registry as parts_of

    doc = parse_docstring(job)
    order = {"max": "↑", "min": "↓"}
    scores = ", ".join(f"{metric} {order[way]}" for metric, way in job.METRICS.items())
    own = ", ".join(f"`{option}: {json.dumps(value)}`" for option, value in parts_of.options(job).items())
    lines = [
        f"### {name}",
        f"{doc['title']} {doc['idea']}",
        "",
        f"- Target: {' or '.join(job.TARGETS)}. Metrics, the first decides: {scores}.",
        *([f"- Options: {own}."] if own else []),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
