"""No kind's name stands outside data/kinds: what differs between kinds is a hook or an attribute of `Kind`."""

import ast
from pathlib import Path

import pytest

from evergreen.data import kinds

ROOT = Path(__file__).parents[2]
ROOMS = ("data", "stages/preprocess", "stages/collect")
PARTS = ("data/kinds", "data/sources")  # a source names columns, not kinds
ALLOWED = {
    "data/prepare/rules/grammar.py": {"number", "text", "boolean"},  # the types that rules read columns as
    "data/prepare/suggest.py": set(kinds.names()),  # the guess for a new pipeline: which kind of target has which task
    "data/prepare/config.py": {"series"},  # an old key of the YAML
    "data/prepare/series_reader.py": {"series"},  # a parameter
    "data/quality/leakage.py": {"text"},  # a field of summary.json
    "stages/preprocess/stage.py": {"text"},
}


def literals(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("room", ROOMS)
def test_no_kind_is_named_outside_its_folder(room: str) -> None:
    paths = [path for path in sorted((ROOT / room).rglob("*.py")) if "store" not in path.parts]
    assert paths
    for path in paths:
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith(PARTS):
            named = literals(path) & set(kinds.names()) - ALLOWED.get(place, set())
            assert not named, f"{place} names the kinds {sorted(named)}: use a hook or an attribute of Kind"
