"""The formats in which texts write times, and the regular expression of each.

A format is `iso`, `iso+zone`, or what strptime takes: "%d.%m.%Y %H:%M".
"""

import re
from datetime import datetime
from functools import cache
from itertools import product

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError

ISO, ZONED, EITHER = "iso", "iso+zone", "iso or iso+zone"
DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y.%m.%d"),
    *("%d %b %Y", "%d. %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d %b %y", "%d-%b-%y", "%Y-%b-%d", "%d%b%Y", "%d de %b de %Y"),
    *("%b %d, %Y", "%b %d %Y", "%a, %d %b %Y", "%a %d %b %Y", "%a, %b %d, %Y"),
)
MONTHLY = ("%b %Y", "%b, %Y", "%b-%Y", "%b/%Y", "%Y %b", "%Y-%b", "%b-%y", "%b '%y", "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y")
CLOCKS = ("", " %H:%M", ", %H:%M", " %H:%M:%S", ", %H:%M:%S", " %H:%M:%S %z", " %I:%M %p", ", %I:%M %p", " %I:%M:%S %p")
COMMON = (ISO, ZONED, *map("".join, product(DATES, CLOCKS)), *MONTHLY)
DATED = r"\d{4}|\d{1,2}[./-](\d{1,2}|[A-Za-zÀ-ÿ]{3,10})[./-]\d{2}|[A-Za-zÀ-ÿ]{3,10}.{1,2}\d{2}"  # what a date holds
LIKE_DATES = (  # in a format that is not known, perhaps
    r"(?i)(^|[^a-zà-ÿ])(jan|feb|fév|mar|mär|apr|avr|abr|ma[iy]|jun|jui|jul|aug|ao[uû]|ago|se[pt]|o[ck]t|nov|d[eéi][cz])[a-zà-ÿ]*[^a-zà-ÿ]+\d"
    r"|^\d{4}[./-]\d{1,2}[./-]\d{1,2}(\D|$)|^\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})(\D|$)|^\d{4}-?W\d{2}|Q[1-4].\d{4}|\d年"
)
MONTHS = (  # whole, or their first three or four letters
    "january february march april may june july august september october november december",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "januari februari maart april mei juni juli augustus september oktober november december",
)
SOME_TIME = datetime(2023, 10, 25, 14, 35, 45)
CLOCK = r"(?P<H>\d{2}):(?P<M>\d{2})(?::(?P<S>\d{2}(?:\.\d{1,9})?))?"
ZONE = r"(?P<z>[Zz]|GMT|UTC|[+-]\d{2}(?::?\d{2})?)"
DIRECTIVES = {
    "%Y": r"(?P<Y>\d{4})",
    "%y": r"(?P<y>\d{2})",
    "%m": r"(?P<m>\d{1,2})",
    "%d": r"(?P<d>\d{1,2})",
    "%b": r"(?P<b>[A-Za-zÀ-ÿ]{3,10})\.?",
    "%B": r"(?P<b>[A-Za-zÀ-ÿ]{3,10})\.?",
    "%a": r"[A-Za-zÀ-ÿ]{2,10}\.?",
    "%A": r"[A-Za-zÀ-ÿ]{2,10}\.?",
    "%H": r"(?P<H>\d{1,2})",
    "%I": r"(?P<I>\d{1,2})",
    "%M": r"(?P<M>\d{2})",
    "%S": r"(?P<S>\d{2}(?:\.\d{1,9})?)",
    "%p": r"(?P<p>[AaPp]\.?[Mm]\.?)",
    "%z": ZONE,
    "%%": "%",
}


def skeleton(text: str) -> str:
    """Return a text with one sign for each number and each word; formats of another skeleton do not fit it."""
    text = re.sub(r"([^\W\d_]+\.?)+", "a", re.sub(r"(:\d\d)\.\d+", r"\1", text))
    return re.sub(r"\d+", "0", text)


@cache
def format_skeleton(format: str) -> str:
    """Return the skeleton of texts in a format; "" where they have several."""
    return "" if format in (ISO, ZONED) or "%z" in format else skeleton(SOME_TIME.strftime(format))


@cache
def months() -> tuple[pa.Array, np.ndarray]:
    """Return the names of months in lower case, and the month of each, 1 to 12."""
    numbers: dict[str, set[int]] = {}
    for names in MONTHS:
        for number, name in enumerate(names.split(), 1):
            for word in {name, name[:3], name[:4]}:
                numbers.setdefault(word, set()).add(number)
    known = {word: min(found) for word, found in numbers.items() if len(found) == 1}  # "jui" may be June or July
    return pa.array(known), np.array([*known.values(), 0])


@cache
def to_pattern(format: str) -> str:
    """Return the regular expression of a format. Raises DataError for one without a day or with unknown parts."""
    if format in (ISO, ZONED, EITHER):
        zone = {ISO: "", ZONED: rf" ?{ZONE}", EITHER: rf"(?: ?{ZONE})?"}[format]
        clock = f"[Tt ]{CLOCK}{zone}"
        return rf"^(?P<Y>\d{{4}})-(?P<m>\d{{2}})-(?P<d>\d{{2}})(?:{clock}){'' if format == ZONED else '?'}$"
    pieces = re.split(r"(%.)", format)
    unknown = [piece for piece in pieces if piece.startswith("%") and piece not in DIRECTIVES]
    has_year_and_month = {"%Y", "%y"} & {*pieces} and {"%m", "%b", "%B"} & {*pieces}
    if unknown or not has_year_and_month:
        problem = f"'{format}' holds {unknown[0]}" if unknown else f"'{format}' has no year or no month"
        fix = f'write {ISO}, {ZONED}, or such as "%d.%m.%Y %H:%M"'
        raise DataError(problem, place="preprocess.kinds", fix=fix)
    return "^" + "".join(DIRECTIVES.get(piece, re.escape(piece)) for piece in pieces) + "$"
