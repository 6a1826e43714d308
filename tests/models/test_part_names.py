"""No task and no architecture is named outside its own file: whoever adds one changes no other."""

import ast
from pathlib import Path

import pytest

from evergreen.models.registry import list_architectures, list_tasks

ROOT = Path(__file__).parents[2]
OWN = ("models/tasks/", "models/architectures/", "stages/checking/")  # a part is checked together with others


def words(file: Path) -> set[str]:
    """Return all string literals of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("room", ["core", "flows", "models", "pages", "stages"])
def test_nothing_names_a_task_or_an_architecture(room):
    names = {*list_tasks(), *list_architectures()} - {"encoder"}  # the word of a tensor's encoding, too
    for file in (ROOT / room).rglob("*.py"):
        place = file.relative_to(ROOT).as_posix()
        if not place.startswith(OWN):
            assert not names & words(file), f"{place} names {', '.join(sorted(names & words(file)))}"
