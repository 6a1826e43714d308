"""Find out how a column of text writes its numbers, and parse numbers that are written so.

A format is 1234.5 as the column writes it: "1234,5", "1,234.5", "1 234,5 €", "$1,234.5", "1234.5 %". "(1234.5)" and
"1234.5-" stand for columns in which negative numbers may be written so. Signs of currencies, and what stands between
thousands, may be left out of a number; other signs are part of each: 12 % is 12, and a bare 12 is not written so.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError

PLAIN = "1234.5"
LAYOUTS = (PLAIN, "1234,5", "1,234.5", "1.234,5", "1 234,5", "1 234.5", "1'234.5", "1'234,5")
FRACTION, THOUSANDS = "1234,5", "1,234.5"  # which of the two 1,234 and 56,789 are, only other values tell
BLANK, APOSTROPHE, MINUS = "[ \u00a0\u2007\u2009\u202f]", "['’]", "[-−]"
CODES = (
    "USD EUR GBP JPY CHF CNY RMB INR RUB SEK NOK DKK ISK PLN CZK HUF RON BGN TRY UAH BRL MXN CAD AUD NZD ZAR KRW SGD "
    "HKD TWD THB IDR MYR PHP VND ILS AED SAR EGP NGN KES CLP COP ARS PEN"
)
CURRENCY = rf"(?:[A-Z]{{0,3}}\p{{Sc}}|{'|'.join(CODES.split())}|kr\.?|zł|Kč|Ft|lei|Rs\.?|Fr\.|руб\.?|р\.|元|円|원)"
OTHER_SIGNS = "[%‰]"
CODE = r"^0\d+$"  # 00501 names something: whoever counts writes 501
MIN_CODES = 0.01  # of the values, unless all are of one length
MAX_SIGNS = 3  # different letters or signs beside numbers: more are parts of codes
LOOKED_AT = 5000  # values, to find out the format
READABLE = 0.5  # fraction of the values that are not written plainly which must be written in another way
SHAPE = re.compile(  # a number of any form, with up to five other signs on either side
    r"(?P<open>\()?\s*[-+−]?\s*(?P<before>[^\W\d_]{1,3}\.?|[^\w\s(),.'’+−-]|[^\W\d_]{1,3}[^\w\s(),.'’+−-])?\s*[-+−]?"
    r"(?P<digits>[.,]?\d(?:[\d.,'’\s]*\d)?\.?(?:[eE][+-]?\d+)?)"
    r"\s*(?P<after>[^\W\d_]{1,5}\.?|[^\w\s(),.'’+−-])?\s*(?P<minus>[-−])?\s*(?P<close>\))?"
)


@dataclass(frozen=True)
class NumberFormat:
    """Hold what stands before, in and behind a number, and how negative ones may be written."""

    before: str
    thousands: str
    decimal: str
    after: str
    parentheses: bool = False
    trailing_minus: bool = False

    @classmethod
    def parse(cls, text: str) -> "NumberFormat":
        """Parse a format. Raises DataError for a text that is not 1234.5 in some form."""
        text = re.sub(BLANK, " ", text.strip()).replace("’", "'")
        match = re.fullmatch(r"(\(?)-?([^\d()]*)1([,. ']?)234([.,])5([^\d()]*?)(-?)(\)?)", text)
        if not match or match[3] == match[4] or bool(match[1]) != bool(match[7]):
            fix = 'write 1234.5 as the column does: "1.234,5", "$1,234.5", "1234.5 %", or "(1234.5)" for negative ones'
            raise DataError(f"{text[:40]!r} is not a format of numbers", fix=fix)
        return cls(match[2].strip(), match[3], match[4], match[5].strip(), bool(match[1]), bool(match[6]))

    @property
    def pattern(self) -> str:
        """Return the regular expression (RE2) of a number of this format."""
        between = {"": "", " ": BLANK, "'": APOSTROPHE}.get(self.thousands, re.escape(self.thousands))
        whole = rf"[1-9]\d{{0,2}}(?:{between}\d{{2,3}})*{between}\d{{3}}|\d+" if between else r"\d+"
        point = re.escape(self.decimal)
        number = rf"(?P<digits>(?:(?:{whole})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?)"
        opening, closing = (r"(?P<open>\()?", r"(?P<close>\))?") if self.parentheses else ("", "")
        minus = rf"\s*(?P<minus>{MINUS})?" if self.trailing_minus else ""
        before, after = rf"(?P<sign>\+|{MINUS})?\s*{_affix(self.before)}", _affix(self.after)
        return rf"^{opening}\s*{before}\s*(?P<inner>{MINUS})?{number}\s*{after}{minus}\s*{closing}$"


def _affix(text: str) -> str:
    is_currency = pc.match_substring_regex(pa.array([text]), f"^{CURRENCY}$")[0].as_py()
    return f"(?:{re.escape(text)})" + ("?" if is_currency else "")


@cache
def _pattern(format: str) -> str:
    return NumberFormat.parse(format).pattern


def parse_numbers(texts: pa.Array, format: str) -> np.ndarray:
    """Return (N,) float64 of trimmed texts, NaN where one is missing or not written in this format."""
    parts = pc.extract_regex(texts, _pattern(format))
    field = {part.name: pc.struct_field(parts, part.name) for part in parts.type}
    shape = NumberFormat.parse(format)
    drop = {"": "", " ": BLANK, "'": APOSTROPHE}.get(shape.thousands, re.escape(shape.thousands))
    number = pc.replace_substring_regex(field["digits"], drop, "") if drop else field["digits"]
    values = pc.replace_substring(number, shape.decimal, ".").cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_negative = np.zeros(len(values), bool)
    for name in {"sign", "inner", "open", "minus"} & {*field}:
        signs = pc.is_in(field[name], pa.array(["-", "−", "("]))
        is_negative |= signs.to_numpy(zero_copy_only=False)
    values = np.where(is_negative, -values, values)
    if shape.parentheses:
        torn = pc.not_equal(pc.equal(field["open"], ""), pc.equal(field["close"], "")).fill_null(False)
        values[torn.to_numpy(zero_copy_only=False)] = np.nan
    return np.asarray(values)


def matching_formats(texts: pa.Array, decimal: str = "") -> list[str]:
    """Return the formats in which most of the trimmed texts are written: one, or two that differ in the decimal sign.

    Of plain numbers, and of texts that are no numbers, it is PLAIN. `decimal` is the decimal sign, if known.
    """
    layouts = [layout for layout in LAYOUTS if layout[-2] == (decimal or layout[-2])]
    words = pc.unique(texts.drop_null())
    words = words.take(pa.array(np.linspace(0, len(words) - 1, min(len(words), LOOKED_AT)).round().astype(np.int64)))
    shapes = [shape for word in words.to_pylist() if (shape := SHAPE.fullmatch(word))]
    if 2 * len(shapes) <= len(words) or not shapes:
        return layouts[:1]
    counts = {format: _count(words, format) for format in _candidates(shapes, layouts)}
    plain, best = counts[layouts[0]], max(counts.values())
    if best - plain <= READABLE * (len(words) - plain):
        return layouts[:1]
    first = next(format for format, count in counts.items() if count == best)
    other = first.replace(FRACTION, THOUSANDS)
    return [other, first] if other != first and counts.get(other) == best else [first]


def _candidates(shapes: list[re.Match[str]], layouts: list[str]) -> list[str]:
    """Return the formats that these numbers may have, the simplest first."""
    affixes = [("", ""), *_most_common_affix(shapes)]
    styles = [("", "")]
    if 0 < sum(bool(shape["open"] and shape["close"]) for shape in shapes) < len(shapes):
        styles.append(("(", ")"))
    if 0 < sum(bool(shape["minus"]) for shape in shapes) < len(shapes):
        styles.append(("", "-"))
    return [
        f"{opening}{before}{layout}{after}{closing}"
        for (opening, closing), (before, after), layout in product(styles, affixes, layouts)
    ]


def _most_common_affix(shapes: list[re.Match[str]]) -> list[tuple[str, str]]:
    """Return what stands before and behind the numbers most often, where that is a currency or another known sign."""
    pairs = Counter((shape["before"] or "", shape["after"] or "") for shape in shapes)
    del pairs["", ""]
    known = pa.array(["".join(pair) for pair in pairs], pa.string())
    is_known = pc.match_substring_regex(known, f"^(?:{CURRENCY}|{OTHER_SIGNS})$").to_pylist()
    common = [pair for pair, right in zip(pairs, is_known, strict=True) if right]
    common = sorted(common, key=lambda pair: -pairs[pair])[:1]
    return [(f"{before} " if before.isalpha() else before, f" {after}" if after else "") for before, after in common]


def _count(words: pa.Array, format: str) -> int:
    return int(np.count_nonzero(~np.isnan(parse_numbers(words, format))))


def holds_codes(texts: pa.Array) -> bool:
    """Tell whether texts are codes of digits: some begin with a zero that no number would have."""
    coded = int(pc.sum(pc.match_substring_regex(texts, CODE)).as_py() or 0)
    if not coded:
        return False
    lengths = pc.min_max(pc.utf8_length(texts))
    return coded >= MIN_CODES * len(texts) or lengths["min"] == lengths["max"]


def describe_guess(column: pa.Array, formats: Sequence[str]) -> str:
    """Return in words which of two formats the likelier one is, with a value that both fit."""
    text = pc.utf8_trim_whitespace(column.filter(pc.match_substring(column, ",")))[:1]
    number = parse_numbers(text, formats[0])[0]
    as_fraction = f'if its comma stands before a fraction, say {{kind: number, format: "{formats[1]}"}}'
    return f"'{text[0]}' is read as {number:.12g}; {as_fraction}"


def describe_obstacle(texts: pa.Array) -> str:
    """Return what keeps texts that look like numbers from being read as such, with a value; "" of other texts."""
    words = pc.unique(texts.drop_null()).to_pylist()[:LOOKED_AT]
    shapes = [shape for word in words if (shape := SHAPE.fullmatch(word))]
    if len(shapes) < 0.95 * len(words) or holds_codes(texts):
        return ""
    signs = [
        shape["before"] or shape["after"] or "".join(re.findall(r"[,'’\s]", shape["digits"])[:1]) for shape in shapes
    ]
    common = Counter(sign for sign in signs if sign).most_common()
    if not 0 < len(common) <= MAX_SIGNS:
        return ""
    sign, shape = common[0][0], shapes[signs.index(common[0][0])]
    others = [one[0] for one, other in zip(shapes, signs, strict=True) if other != sign]
    if len(others) > 0.05 * len(shapes):
        return f"'{shape[0]}' holds '{sign}', and '{others[0]}' does not; to read numbers, write all alike"
    format = f"{shape['before'] or ''}1234.5{' ' * bool(shape['after'])}{shape['after'] or ''}"
    return f"'{shape[0]}' holds '{sign}'; to read numbers, say {{kind: number, format: \"{format}\"}}"
