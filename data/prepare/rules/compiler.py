"""Compile a rule into an Arrow expression.

Columns are read as one of four types: numbers (float64), texts, times (microseconds, UTC) and booleans. Missing values
are null, and so is what cannot be said of them: `and` and `or` are Kleene's, and a row violates a rule only where the
rule is false.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare.rules.grammar import (
    ANY,
    BOOLEAN,
    FUNCTIONS,
    GRAMMAR,
    LITERAL,
    NUMBER,
    TEXT,
    TIME,
    Expression,
    MakeError,
    parse_rule,
    rule_error,
)

DAY = 86_400e6  # microseconds
SIGNS: dict[type[ast.AST], Callable[[Any, Any], Expression]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: lambda a, b: pc.if_else(b == 0.0, pc.scalar(pa.scalar(None, pa.float64())), pc.divide(a, b)),
    ast.And: lambda a, b: a & b,
    ast.Or: lambda a, b: a | b,
}


@dataclass(frozen=True)
class Term:
    """Hold a part of a rule with its type."""

    expression: Expression
    type: str
    column: str = ""  # where it is one and nothing else
    value: Any = None  # where it is a constant


@dataclass
class RuleCompiler:
    """Compile the parts of one rule, and note which columns it reads."""

    rule: str
    types: Mapping[str, str]
    asked: dict[tuple[str, str], None] = field(default_factory=dict)  # (type, column), in order

    def wrong(self, problem: str, fix: str) -> DataError:
        """Return the error for a mistake in this rule."""
        return rule_error(self.rule, problem, fix)

    def term(self, node: ast.AST) -> Term:
        """Compile a node of the tree."""
        match node:
            case ast.Constant(value=value):
                return self.constant(value)
            case ast.Name(id=name) | ast.Call(func=ast.Name(id="field"), args=[ast.Constant(value=str(name))]):
                return self.column(name)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.call(name, arguments)
            case ast.BoolOp(op=sign, values=values):
                first, *rest = [self.typed(one, BOOLEAN).expression for one in values]
                for one in rest:
                    first = SIGNS[type(sign)](first, one)
                return Term(first, BOOLEAN)
            case ast.UnaryOp(op=ast.Not(), operand=one):
                return Term(~self.typed(one, BOOLEAN).expression, BOOLEAN)
            case ast.UnaryOp(op=ast.USub(), operand=one):
                return Term(pc.negate(self.typed(one, NUMBER).expression), NUMBER)
            case ast.BinOp(left=left, op=sign, right=right):
                return self.sum(sign, left, right)
            case ast.Compare(left=left, ops=signs, comparators=others):
                pairs = zip([left, *others], signs, others, strict=False)
                first, *rest = [self.compared(one, sign, other) for one, sign, other in pairs]
                for made in rest:
                    first = first & made
                return Term(first, BOOLEAN)
        raise self.wrong(f"`{ast.unparse(node)}` is not allowed in a rule", GRAMMAR)

    def typed(self, node: ast.AST, wanted: str) -> Term:
        """Return a term of the wanted type; a column is read again as text where text is wanted."""
        term = self.term(node)
        if wanted in (term.type, ANY):
            return term
        if wanted == TEXT and term.column:
            return self.column(term.column, TEXT)
        problem = f"`{ast.unparse(node)}` is a {term.type} where a {wanted} is expected"
        raise self.wrong(problem, self.otherwise(term, wanted))

    def otherwise(self, term: Term, wanted: str) -> str:
        """Return the hint for a term of the wrong type."""
        if term.column:
            return f"declare its type, `schema: {{{term.column}: {{type: {wanted}}}}}`, or change the rule"
        return "write numbers without quotes, texts and times in quotes"

    def constant(self, value: Any) -> Term:
        """Compile a constant."""
        if isinstance(value, bool):
            return Term(pc.scalar(value), BOOLEAN, value=value)
        if isinstance(value, str):
            return Term(pc.scalar(value), TEXT, value=value)
        if isinstance(value, int | float) and abs(value) <= 1e300:
            return Term(pc.scalar(float(value)), NUMBER, value=float(value))
        if value is None:
            raise self.wrong("nothing equals what is missing", "write is_null(COLUMN) or is_valid(COLUMN)")
        raise self.wrong(f"`{value!r}` is not allowed in a rule", GRAMMAR)

    def column(self, name: str, wanted: str = "") -> Term:
        """Compile a column, read as `wanted` or as its own type."""
        if name not in self.types:
            raise self.wrong(f"there is no column '{name}'", suggest(name, self.types))
        kind = wanted or self.types[name]
        self.asked[kind, name] = None
        return Term(pc.field(typed_column_name(kind, name)), kind, column=name)

    def call(self, name: str, arguments: list[ast.expr]) -> Term:
        """Compile a call of one of FUNCTIONS."""
        takes, gives, make = FUNCTIONS[name]
        pairs = zip(arguments, takes, strict=True)
        given = [ast.literal_eval(one) if wanted == LITERAL else self.typed(one, wanted) for one, wanted in pairs]
        types = [one.type for one in given if isinstance(one, Term)]
        if name == "coalesce" and types[0] != types[1]:
            problem = f"`{ast.unparse(arguments[0])}` is a {types[0]} and `{ast.unparse(arguments[1])}` a {types[1]}"
            raise self.wrong(problem, "give two values of one type")
        made = make(*(one.expression if isinstance(one, Term) else one for one in given))
        return Term(made, types[0] if gives == ANY else gives)

    def sum(self, sign: ast.operator, left: ast.expr, right: ast.expr) -> Term:
        """Compile an arithmetic operation; the difference of two times is in days."""
        first = self.term(left)
        if first.type == TIME and isinstance(sign, ast.Sub):
            difference = pc.subtract(first.expression, self.typed(right, TIME).expression)
            return Term(pc.divide(difference.cast(pa.int64()).cast(pa.float64()), pc.scalar(DAY)), NUMBER)
        return Term(
            SIGNS[type(sign)](self.typed(left, NUMBER).expression, self.typed(right, NUMBER).expression), NUMBER
        )

    def compared(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> Expression:
        """Compile one comparison."""
        if isinstance(sign, ast.Is | ast.IsNot):
            made = self.term(left).expression
            return made.is_null() if isinstance(sign, ast.Is) else made.is_valid()
        if isinstance(sign, ast.In | ast.NotIn):
            return self.among(left, right, isinstance(sign, ast.In))
        first, second = self.term(left), self.term(right)
        if first.type == TIME and isinstance(second.value, str):
            second = self.moment(second.value)
        if second.type == TIME and isinstance(first.value, str):
            first = self.moment(first.value)
        if first.type != second.type:
            problem = f"`{ast.unparse(left)}` is a {first.type} and `{ast.unparse(right)}` a {second.type}"
            odd, other = (first, second) if first.column else (second, first)
            raise self.wrong(problem, self.otherwise(odd, other.type))
        if first.type in (BOOLEAN, TEXT) and not isinstance(sign, ast.Eq | ast.NotEq):
            name = first.column or second.column
            problem = f"`{ast.unparse(left)}` is a {first.type}, which has no order"
            fix = f"declare its type, `schema: {{{name}: {{type: time}}}}` or number, or " if name else ""
            raise self.wrong(problem, f"{fix}compare with == or !=")
        return SIGNS[type(sign)](first.expression, second.expression)

    def among(self, left: ast.expr, right: ast.expr, inside: bool) -> Expression:
        """Compile `in` and `not in`."""
        term = self.term(left)
        values = ast.literal_eval(right)  # `parsed` made sure that it holds constants alone
        is_member = is_in(term.expression, term.type, list(values), self.wrong)
        return is_member if inside else ~is_member

    def moment(self, text: str) -> Term:
        """Compile a time that is written as text."""
        return Term(time_scalar(text, self.wrong), TIME)


def compile_rule(rule: str, types: Mapping[str, str]) -> tuple[Expression, list[tuple[str, str]]]:
    """Return (the rule as an expression, the (type, column) pairs it reads); `types` is column → type.

    The expression reads columns named `typed_column_name(type, column)`. Raises DataError where a column is unknown
    or types do not match.
    """
    reader = RuleCompiler(rule, types)
    term = reader.term(parse_rule(rule))
    if term.type != BOOLEAN:
        raise reader.wrong(f"it is a {term.type}, not a condition", "compare it with something")
    if not reader.asked:
        fix = "name one; write a column whose name is not a word as field('unit price')"
        raise reader.wrong("it names no column", fix)
    return term.expression, list(reader.asked)


def typed_column_name(kind: str, name: str) -> str:
    """Return the name of the table column that holds a column read as a type."""
    return f"{kind} {name}"


def time_scalar(text: str, wrong: MakeError) -> Expression:
    """Return a time as an expression. Raises what `wrong` makes for other text."""
    values, faults = dates.parse_datetimes(pa.array([text]), dates.EITHER)
    if faults or values.null_count:
        raise wrong(f"'{text}' is not a time", "write 2024-01-31 or 2024-01-31T12:00")
    return pc.scalar(values[0])


def is_in(made: Expression, kind: str, values: list[Any], wrong: MakeError) -> Expression:
    """Return whether a term is one of some values; null where it is null."""
    right = {NUMBER: int | float, TEXT: str, TIME: str, BOOLEAN: bool}[kind]
    odd = [one for one in values if not isinstance(one, right) or (isinstance(one, bool) and kind != BOOLEAN)]
    if odd or not values:
        problem = f"{odd[0]!r} is not a {kind}" if odd else "the list is empty"
        raise wrong(problem, "write numbers without quotes, texts and times in quotes")
    if kind == TIME:
        first, *rest = [made == time_scalar(one, wrong) for one in values]
        for value in rest:
            first = first | value
        return first
    value_set = pa.array(values, {NUMBER: pa.float64(), TEXT: pa.string(), BOOLEAN: pa.bool_()}[kind])
    return pc.if_else(made.is_null(), pc.scalar(pa.scalar(None, pa.bool_())), made.isin(value_set))
