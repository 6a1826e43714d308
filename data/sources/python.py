"""Texts and numbers that every Python carries: `python:docs`, `python:docstrings`, `python:tokens`, `python:numbers`.

docs       its language reference, each paragraph once, in stretches of 256 characters (`python:docs?characters=128`):
           columns `text` and `place`, the stretch's number
docstrings descriptions from its standard library: `text`, and `package`, the one it describes
tokens     lines of its standard library: `words`, and `tags`, which follow from the grammar of Python: B-/I- and the
           dotted name of a MODULE that is imported, of a CALL, of what is DEFINED; O for all else
numbers    whole numbers below a million in digits and in English `words`
"""

import ast
import io
import keyword
import random
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources
from evergreen.data.sources.texts import STRETCH, parse_characters, text_chunks

LIBRARY = Path(ast.__file__).parent
PACKAGES = (
    *("asyncio", "ctypes", "email", "http", "importlib"),
    *("logging", "multiprocessing", "unittest", "urllib", "xml"),
)
MODULES = (
    *("argparse", "ast", "datetime", "doctest", "functools"),
    *("inspect", "pathlib", "pickle", "subprocess", "typing"),
)
SHORTEST, LONGEST = 4, 40  # tokens of a line
COUNT = 8000  # numbers
ONES_AND_TENS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
ONES, TENS = ONES_AND_TENS.split()[:20], ONES_AND_TENS.split()[20:]


class PythonSource(sources.Source):
    def __init__(self, name: str, root: Path) -> None:
        name, _, option = name.partition("?")
        super().__init__(name, root)
        self.characters = parse_characters(option, f"python:{name}") or STRETCH

    def read(self) -> Iterator[pa.RecordBatch]:
        tables: dict[str, Callable[[], pa.Table]] = {"docstrings": docstrings, "tokens": tokens, "numbers": numbers}
        if self.name == "docs":
            yield from text_chunks([("python:docs", docs())], self.characters)
        elif self.name in tables:
            table = sources.with_origin(tables[self.name](), f"python:{self.name}")
            yield from table.combine_chunks().to_batches(sources.ROWS)
        else:
            known = ["docs", *tables]
            problem = f"Python carries no data called '{self.name}'"
            raise DataError(problem, place=f"python:{self.name}", fix=suggest(self.name, known))

    def fingerprint(self) -> str:
        return f"Python {sys.version.split()[0]} {self.name} {self.characters}"


def docs() -> str:
    """Return the topics of help(), in the order of their names; a repeated paragraph is left out."""
    from pydoc_data.topics import topics

    paragraphs = (part.strip() for name in sorted(topics) for part in re.split(r"\n\s*\n", topics[name]))
    return "\n\n".join(dict.fromkeys(part for part in paragraphs if part))


def docstrings() -> pa.Table:
    """Return the first paragraph of each docstring of PACKAGES that has five words or more."""
    texts: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((LIBRARY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    if len(text.split()) >= 5:
                        texts.setdefault(text, package)
    return pa.table({"text": list(texts), "package": list(texts.values())})


def tokens() -> pa.Table:
    """Return the logical lines of MODULES, each once."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for module in MODULES:
        source = (LIBRARY / f"{module}.py").read_text(encoding="utf-8")
        line: list[str] = []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
                line.append(token.string)
            elif token.type == tokenize.STRING:
                line.append('""')  # what it says does not matter to the grammar
            elif token.type == tokenize.NEWLINE:
                if SHORTEST <= len(line) <= LONGEST:
                    lines.setdefault(tuple(line), tags(line))
                line = []
    return pa.table({"words": [list(line) for line in lines], "tags": list(lines.values())})


def tags(line: list[str]) -> list[str]:
    """Return B- and I- with MODULE, CALL or DEFINED for each dotted name of a line that is one; O for the rest."""
    tags_of = ["O"] * len(line)
    start = 0
    while start < len(line):
        end = start + 1
        if line[start].isidentifier() and not keyword.iskeyword(line[start]):
            while end + 1 < len(line) and line[end] == "." and line[end + 1].isidentifier():
                end += 2
            before, after = line[start - 1] if start else "", line[end] if end < len(line) else ""
            if kind := _role(line[0], before, after):
                tags_of[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        start = end
    return tags_of


def _role(first: str, before: str, after: str) -> str:
    if before in ("def", "class"):
        return "DEFINED"
    if before == "from" or (first == "import" and before in ("import", ",")):
        return "MODULE"
    return "CALL" if after == "(" else ""


def numbers() -> pa.Table:
    """Return numbers of one to six digits, about as many of each; the same ones every time."""
    drawn = random.Random(0)
    chosen = sorted({drawn.randrange(10 ** drawn.randint(1, 6)) for _ in range(2 * COUNT)})
    chosen = sorted(drawn.sample(chosen, COUNT))
    return pa.table({"number": [str(number) for number in chosen], "words": [words(number) for number in chosen]})


def words(number: int) -> str:
    """Return a whole number below a million in English words: 1,203 is one thousand two hundred and three."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")
    unit, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    quotient, rest = divmod(number, unit)
    link = " and " if 0 < rest < 100 else " "
    return f"{words(quotient)} {name}" + (link + words(rest) if rest else "")
