"""The house keeps its shape: one name a module, folders that can be taken in at a glance, no circle of imports."""

import ast
import collections
import subprocess
from pathlib import Path, PurePosixPath

import grimp

ROOT = Path(__file__).parents[1]
ROOMS = ("cli", "core", "data", "evergreen/*.py", "flows", "models", "pages", "stages")
# Folders in which a file is a part, found by its name.
PARTS = (
    "architectures",
    "tasks",
    "kinds",
    "sources",
    "plots",
    "outcomes",
    "formats",
    "protocols",
)
SHARED_NAMES = {"__init__", "__main__", "config", "stage"}  # said once a package
MAX_FILES, MAX_LINES, MAX_FUNCTION_LINES = 35, 250, 50


def modules() -> list[PurePosixPath]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *ROOMS], cwd=ROOT, capture_output=True)
    paths = map(PurePosixPath, listed.stdout.decode().splitlines())
    return [path for path in paths if path.suffix == ".py" and (ROOT / path).is_file()]


def is_part(path: PurePosixPath) -> bool:
    return path.parent.name in PARTS


def test_no_two_modules_have_one_name():
    names = collections.defaultdict(list)
    for path in modules():
        if not is_part(path) and path.stem not in SHARED_NAMES:
            names[path.stem].append(str(path))
    assert len(names) > 50
    assert {name: places for name, places in names.items() if len(places) > 1} == {}


def test_no_folder_holds_more_files_than_can_be_taken_in():
    folders = collections.Counter(str(path.parent) for path in modules() if not is_part(path))
    assert {folder: count for folder, count in folders.items() if count > MAX_FILES} == {}


def test_no_file_and_no_function_is_longer_than_can_be_read_at_once():
    long = []
    for path in modules():
        text = (ROOT / path).read_text(encoding="utf-8")
        long += [str(path)] if text.count("\n") > MAX_LINES else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                is_long = (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
                long += [f"{path}:{node.lineno}: {node.name}"] if is_long else []
    assert long == []


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions count too: who needs a trick to import a module has it in the wrong place."""
    graph = grimp.build_graph("evergreen", exclude_type_checking_imports=True)
    circles = []
    for name in sorted(graph.modules):
        children = graph.find_modules_directly_imported_by(name)
        for child in children:
            if child != name and graph.chain_exists(child, name):
                circles.append((name, child))
    assert circles == []


def test_a_docstring_begins_with_what_happens():
    """A function's begins with a verb, a class's or a property's may begin with a noun, none with a question."""
    questions, articles = (
        {"What", "Whether", "How", "Which", "Where", "Why", "Of", "As"},
        {"The", "A", "An", "One", "All"},
    )
    odd = []
    for path in modules():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or " ").split(" ")[0]
                decorators = map(ast.unparse, getattr(node, "decorator_list", ()))
                is_noun = isinstance(node, ast.Module | ast.ClassDef) or any("property" in name for name in decorators)
                if first in questions or (first in articles and not is_noun):
                    odd.append(f"{path}:{getattr(node, 'lineno', 1)}: {first} …")
    assert odd == []
