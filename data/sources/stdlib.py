"""The imports of each module of Python's standard library: `stdlib:imports`, read from the sources with ast.

A row for each module that a file imports: `module` (the file), `others` (all else that it imports) and `imports` (the
one left out). Tests, demonstrations, tables of encodings and relative imports are passed over. To ask for a module of
files never seen, let `id_columns` be [module]: then all rows of a file are in one split.
"""

import ast
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import sources

ASIDE = {"test", "tests", "idle_test", "site-packages", "dist-packages", "turtledemo", "lib2to3", "encodings"}


class StdlibSource(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        if self.name != "imports":
            fix = "use stdlib:imports"
            raise DataError(f"'{self.name}' is not a data set of this source", place=f"stdlib:{self.name}", fix=fix)
        rows = [row for path in _files() for row in _rows(path)]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        yield from sources.with_origin(table, "stdlib:imports").combine_chunks().to_batches(sources.ROWS)

    def fingerprint(self) -> str:
        return f"Python {platform.python_version()} imports"


SCHEMA = pa.schema({"module": pa.string(), "others": pa.list_(pa.string()), "imports": pa.string()})


def _files() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    return [path for path in sorted(root.rglob("*.py")) if not ASIDE & set(path.relative_to(root).parts)]


def _rows(path: Path) -> list[dict[str, object]]:
    module = ".".join(path.relative_to(sysconfig.get_path("stdlib")).with_suffix("").parts)
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # templates of code are no modules
        return []
    imported = sorted({name for node in ast.walk(tree) for name in _names(node)})
    return [
        {"module": module, "others": [other for other in imported if other != name], "imports": name}
        for name in imported
        if len(imported) > 1
    ]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
