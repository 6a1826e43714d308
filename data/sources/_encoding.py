"""Find out how a text file is encoded: by its mark, by its bytes, else by what its words look like.

Nothing of this is certain but marks and UTF-8, so what is taken for anything else is told.
"""

import codecs
import re
from pathlib import Path

from evergreen.data.sources._files import open_decompressed

ENCODING_FIX = "save the file as UTF-8, or say how it is written: `collect: {encoding: …}`"
MARKS = (
    *((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
MIN_ZEROS = 0.02  # of the bytes of such text: its digits, delimiters and line ends have some
WINDOWS = {*range(0x80, 0xA0)} - {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # bytes that are signs in Windows-1252 alone
BLOCK = 1 << 20  # bytes read at once
SAMPLE, ENOUGH = 1 << 14, 1 << 9  # bytes of different cells that are looked at, at most and, repeated, at least
SHOWN = 3  # cells in a note
CELLS = re.compile(rb'[\t\r\n",;]+')  # between them; no second byte of a character is one of these

# the letters beside a to z of each language, by the encodings that it is written in
WESTERN = (
    *("äöüß", "äåöé", "àâæçéèêëîïíôœùûüÿ", "áéíóúüñç", "áâãàçéêíóôõúü", "àèéìíîòóùú", "éëïóöüáèê", "æøåéäöüòóô"),
    *("áðéíóúýþæö", "àçéèíïóòúü"),
)
CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîşţ", "čćđšž", "äöüß")
TURKISH, BALTIC = ("âçğıîöşüû\u0307",), ("ąčęėįšųūž", "āčēģīķļņšūž", "äöüõšž")
LETTERS = {
    **dict.fromkeys(("cp1252", "latin-1", "cp850", "mac_roman"), WESTERN),
    **dict.fromkeys(("cp1250", "iso8859_2", "cp852"), CENTRAL),
    **{"cp1254": TURKISH, "cp1257": BALTIC},
}
FOREIGN = re.compile("ñ(?![aeiouáéíóú])|õ(?!e)|ã(?![eo]|s?$)")  # ń, ő and ă that are read as Western letters
SCRIPTS = re.compile(
    "[Ѐ-ӿ]+|[Ͱ-Ͽ]+|[\u0590-\u05ff]+|[\u0600-\u06ff]+|[\u0e01-\u0e3a\u0e40-\u0e4e]+"
)  # Cyrillic, Greek, …, Thai
BETWEEN = re.compile(r"[\s\x00-@\[-`{-~’‘–—…]+")  # words
QUOTES, UNITS = "“”„«»‹›¿¡·•", "€£¥§°²³µ‰©®™½¼¾±×÷¢¤ªº"  # around a word; behind a word, or alone
COMMON = {  # the first bytes of the characters that people use most, in which a text is told from others
    **{"gb18030": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "cp949": (0xB0, 0xC8)},
    **{"cp932": (0x82, 0x97), "euc_jp": (0xA4, 0xCF)},
}
CANDIDATES = (  # of equally likely ones the first is taken
    *("cp1252", "gb18030", "big5", "cp949", "cp932", "euc_jp", "cp1251", "koi8_r", "cp1250", "iso8859_2", "latin-1"),
    *("cp1253", "iso8859_7", "iso8859_5", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "cp866", "cp850", "cp852"),
    "mac_roman",
)


def detect_encoding(path: Path, declared: str = "") -> tuple[str, str]:
    """Return (the encoding of a text file, what was guessed about it in words).

    What is certain, a mark or UTF-8 beyond ASCII, counts more than the encoding that a pipeline declares.
    """
    decoder, is_ascii = codecs.getincrementaldecoder("utf-8")(), True
    with open_decompressed(path) as file:
        block = file.read(BLOCK)
        if certain := next((name for mark, name in MARKS if block.startswith(mark)), ""):
            return certain, ""
        if not declared and (wide := _wide_encoding(block)):
            return wide, f"is read as {wide}"
        try:
            while block:
                decoder.decode(block)
                is_ascii = is_ascii and block.isascii()
                block = file.read(BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return (declared, "") if declared else _guess(block + file.read(BLOCK))
    return (declared if declared and is_ascii else "utf-8"), ""


def is_wide(path: Path) -> bool:
    """Tell whether a text file has the mark of UTF-16 or UTF-32."""
    with open_decompressed(path) as file:
        head = file.read(4)
    return any(head.startswith(mark) for mark, _ in MARKS[1:])


def _wide_encoding(block: bytes) -> str:
    """Return the UTF-16 or UTF-32 that a block without a mark is written in; "" where it is none of them."""
    if block.count(0) < MIN_ZEROS * len(block):
        return ""
    for name in WIDE:
        try:
            text = codecs.getincrementaldecoder(name)().decode(block[:SAMPLE])
        except UnicodeDecodeError:
            continue
        if {"\n", "\r"} & {*text} and "".join(text.split()).isprintable():
            return name
    return ""


def _guess(data: bytes) -> tuple[str, str]:
    """Return (the encoding of bytes that are not UTF-8, what was guessed about it in words)."""
    cells = list(dict.fromkeys(cell for cell in CELLS.split(data) if not cell.isascii()))
    sample = b"\n".join(cells)
    sample = sample if len(sample) <= SAMPLE else sample[:SAMPLE].rpartition(b"\n")[0]
    odd = {*data} & {*range(0x80, 0xA0)}
    name, others = "cp1252" if odd and odd <= WINDOWS else "latin-1", list[str]()
    if _naturalness(sample, name) < 1:
        name, *others = _rank(sample)
    words = ", ".join(cell.decode(name, "replace").strip() for cell in cells[:SHOWN])
    doubt = f"; or it is {', or '.join(others[:SHOWN])}" if others else ""
    return name, f"is read as {name} ({words}){doubt}"


def _rank(sample: bytes) -> list[str]:
    """Return the likeliest encoding, and others that are as likely and read other words."""
    from charset_normalizer import from_bytes

    known = [codecs.lookup(name).name.replace("-", "_") for name in CANDIDATES]
    repeated = (sample + b"\n") * max(1, -(-ENOUGH // len(sample)))
    looks = {match.encoding: match for match in from_bytes(repeated, cp_isolation=known, preemptive_behaviour=False)}

    def likelihood(place: int) -> tuple[float, ...]:
        look = looks.get(known[place])
        rest = (-look.chaos, look.coherence) if look else (-1.0, 0.0)
        return (round(_naturalness(sample, CANDIDATES[place]), 2), *rest)

    ranks = {CANDIDATES[place]: likelihood(place) for place in range(len(CANDIDATES))}
    best = max(ranks, key=ranks.__getitem__)
    texts = {sample.decode(best): best}
    *alike, coherence = ranks[best]
    for name, (*others, other_coherence) in ranks.items():
        if others == alike and other_coherence >= coherence / 2:
            texts.setdefault(sample.decode(name), name)
    return [*texts.values()]


def _naturalness(sample: bytes, encoding: str) -> float:
    """Return the fraction of the words beyond ASCII, or of such characters, that a person may have written so."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return -1.0
    if encoding in COMMON:
        first, last = COMMON[encoding]
        characters = [sign.encode(encoding) for sign in text if not sign.isascii()]
        return sum(len(sign) == 2 and first <= sign[0] <= last for sign in characters) / len(characters)
    words = [word for word in BETWEEN.split(text) if not word.isascii()]
    return sum(_is_word(word.strip(QUOTES), encoding) for word in words) / max(1, len(words))


def _is_word(word: str, encoding: str) -> bool:
    """Tell whether a word has its letters in one case, and all of one script or of one language."""
    if word[:1] in {*"°µ©"} and word[1:].isascii():  # 20 °C
        return True
    word = word.rstrip(UNITS)
    if not (word.islower() or word.isupper() or word[1:].islower() or word.lower() == word.upper()):
        return len(word) < 2
    if encoding not in LETTERS:
        return SCRIPTS.fullmatch(word) is not None
    letters = [letter for letter in word.lower() if not letter.isascii()]
    if LETTERS[encoding] is WESTERN and (len(letters) == len(word) > 1 or FOREIGN.search(word.lower())):
        return False
    return any({*letters} <= {*language} for language in LETTERS[encoding])
