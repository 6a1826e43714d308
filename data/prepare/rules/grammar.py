"""Parse a rule: `end >= start or is_null(end)`.

The grammar is a small part of Python's expressions. Nothing is ever run as Python; what is unknown is refused.
"""

import ast
from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest

NUMBER, TEXT, TIME, BOOLEAN = TYPES = ("number", "text", "time", "boolean")
LONGEST = 2000  # signs of a rule
SHOWN = 200  # of a rule that cannot be read
ANY = "any"
LITERAL = "'…'"  # a text in quotes
Expression: TypeAlias = pc.Expression
MakeError = Callable[[str, str], DataError]  # (problem, fix) → the error that says where

FUNCTIONS: dict[str, tuple[tuple[str, ...], str, Callable[..., Expression]]] = {  # name: takes, gives, how
    "is_valid": ((ANY,), BOOLEAN, lambda value: value.is_valid()),
    "is_null": ((ANY,), BOOLEAN, lambda value: value.is_null()),
    "coalesce": ((ANY, ANY), ANY, pc.coalesce),
    "match": ((TEXT, LITERAL), BOOLEAN, lambda text, sign: pc.match_substring_regex(text, anchor(sign))),
    "contains": ((TEXT, LITERAL), BOOLEAN, pc.match_substring),
    "starts_with": ((TEXT, LITERAL), BOOLEAN, pc.starts_with),
    "ends_with": ((TEXT, LITERAL), BOOLEAN, pc.ends_with),
    "length": ((TEXT,), NUMBER, lambda text: pc.utf8_length(text).cast(pa.float64())),
    "lower": ((TEXT,), TEXT, pc.utf8_lower),
    "upper": ((TEXT,), TEXT, pc.utf8_upper),
    "abs": ((NUMBER,), NUMBER, pc.abs),
    "round": ((NUMBER,), NUMBER, pc.round),
    "floor": ((NUMBER,), NUMBER, pc.floor),
    "ceil": ((NUMBER,), NUMBER, pc.ceil),
    "year": ((TIME,), NUMBER, lambda time: pc.year(time).cast(pa.float64())),
    "month": ((TIME,), NUMBER, lambda time: pc.month(time).cast(pa.float64())),
    "day": ((TIME,), NUMBER, lambda time: pc.day(time).cast(pa.float64())),
    "hour": ((TIME,), NUMBER, lambda time: pc.hour(time).cast(pa.float64())),
    "weekday": ((TIME,), NUMBER, lambda time: pc.day_of_week(time).cast(pa.float64())),  # Monday is 0
}
SEQUENCES = (ast.List, ast.Tuple)
GRAMMAR = (
    "a rule is made of columns (or field('a name')), constants, == != < <= > >= + - * /, and, or, not, in [ … ], and "
    f"these functions: {', '.join(FUNCTIONS)}"
)
PARTS = (
    *(ast.expr_context, ast.Constant, ast.Name, ast.Call, ast.BoolOp, ast.boolop, ast.BinOp, ast.Compare, *SEQUENCES),
    *(ast.UnaryOp, ast.Not, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.cmpop),
)


def rule_error(rule: str, problem: str, fix: str) -> DataError:
    """Return the error for a mistake in a rule, which names the rule."""
    return DataError(f"rule `{rule}`: {problem}", place="preprocess.rules", fix=fix)


def parse_rule(rule: str) -> ast.expr:
    """Return the tree of a rule. Raises DataError naming what is wrong, without knowing the data."""
    shown = rule if len(rule) <= SHOWN else f"{rule[:SHOWN]}…"

    def wrong(problem: str, fix: str) -> DataError:
        return rule_error(shown, problem, fix)

    try:
        if len(rule) > LONGEST:
            raise wrong(f"it has {len(rule):,} characters; at most {LONGEST:,} are allowed", "split it into two rules")
        tree = ast.parse(rule.strip(), mode="eval").body
        for node in ast.walk(tree):
            _known(node, wrong)
        ast.unparse(tree)  # what is nested too deep for this is too deep for a person, too
    except SyntaxError as error:
        raise wrong(f"it cannot be read ({error.msg})", "check brackets, quotes and words; equality is ==") from error
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise wrong("it is nested too deeply or has an invalid character", "write a simpler one") from error
    return tree


def _known(node: ast.AST, wrong: MakeError) -> None:
    """Raise DataError for a part that rules do not have."""
    if not isinstance(node, PARTS) or not isinstance(getattr(node, "op", node), PARTS):
        raise wrong(f"`{ast.unparse(node)}` is not allowed in a rule", GRAMMAR)
    if isinstance(node, ast.Compare):
        for sign, other in zip(node.ops, node.comparators, strict=True):
            if isinstance(sign, ast.Is | ast.IsNot) and not (isinstance(other, ast.Constant) and other.value is None):
                raise wrong(f"`is` can only be followed by None, not by `{ast.unparse(other)}`", "write ==")
            if isinstance(sign, ast.In | ast.NotIn) and not _listed(other):
                raise wrong(f"`{ast.unparse(other)}` is not a list of constants", "write in ['a', 'b'] or in [1, 2]")
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name == "field":
        takes: tuple[str, ...] = (LITERAL,)
    elif name in FUNCTIONS:
        takes = FUNCTIONS[name][0]
    else:
        raise wrong(f"there is no function `{name}`", suggest(name, [*FUNCTIONS, "field"]))
    if node.keywords or len(node.args) != len(takes):
        raise wrong(f"`{ast.unparse(node)}` has the wrong arguments for {name}", f"write {name}({', '.join(takes)})")
    for argument, wanted in zip(node.args, takes, strict=True):
        if wanted == LITERAL and not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            raise wrong(f"`{ast.unparse(argument)}` is not text in quotes", f"write {name}({', '.join(takes)})")
        if name == "match" and isinstance(argument, ast.Constant):
            check_pattern(str(argument.value), wrong)


def _listed(node: ast.AST) -> bool:
    """Tell whether a node is a list of constants such as `['a', 'b']` or `[1, -2]`."""
    elements = getattr(node, "elts", ())
    signed = [one.operand for one in elements if isinstance(one, ast.UnaryOp) and isinstance(one.op, ast.USub)]
    right = all(isinstance(one, ast.Constant) and type(one.value) in (int, float) for one in signed)
    return (
        right and all(isinstance(one, ast.Constant | ast.UnaryOp) for one in elements) and isinstance(node, SEQUENCES)
    )


def anchor(sign: str) -> str:
    """Return a regular expression that only complete texts match."""
    return f"^(?:{sign})$"


def check_pattern(sign: str, wrong: MakeError) -> None:
    """Raise what `wrong` makes where `sign` is not a regular expression."""
    if len(sign) > LONGEST:
        raise wrong(f"the pattern has {len(sign):,} characters, {LONGEST:,} at most", "write a shorter one")
    try:
        pc.match_substring_regex(pa.array([""]), anchor(sign))
    except pa.ArrowInvalid as error:
        problem = f"'{sign[:SHOWN]}' is not a regular expression ({str(error)[:SHOWN]})"
        raise wrong(problem, "use the syntax of RE2") from error
