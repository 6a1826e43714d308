"""Tokenize text into characters, bytes, words, or pieces of words learned by byte pair encoding.

Bytes are written as the characters of the same number (Latin-1), so that every token is a text and fits into JSON.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise

UNITS = ("character", "byte", "word", "bpe")
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each is a word
WORD = re.compile(rf"[^\W{IDEOGRAPHS}]+(?:['’][^\W{IDEOGRAPHS}]+)*|[{IDEOGRAPHS}]|[^\w\s]")
PIECE = re.compile(r" ?\w+| ?[^\w\s]+|\s+")  # byte pairs do not reach over its borders
CLOSING, OPENING = set(".,;:!?)]}%…-/"), set("([{-/")  # no space before, none after


def tokenizer(unit: str, values: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the function that cuts a text into tokens; byte pairs are joined by the known tokens `values`."""
    if unit == "byte":
        return lambda text: list(text.encode().decode("latin-1"))
    if unit == "word":
        return WORD.findall
    if unit == "bpe":
        joined = lru_cache(1 << 16)(_Joiner({value: rank for rank, value in enumerate(values)}))
        return lambda text: [token for piece in PIECE.findall(text) for token in joined(piece)]
    return list


def detokenize(unit: str, tokens: Sequence[str]) -> str:
    """Join tokens to a text. It is exact except for words, between which it puts spaces."""
    if unit in ("byte", "bpe"):
        return "".join(tokens).encode("latin-1", "replace").decode(errors="replace")
    if unit == "character":
        return "".join(tokens)
    text = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        text += token if before is None or token in CLOSING or before in OPENING else f" {token}"
    return text


def learn_vocabulary(unit: str, texts: Sequence[str], most: int) -> tuple[list[str], int]:
    """Return (the `most` most common tokens of training texts, the length of the longest text in tokens).

    Words that occur once are left out.
    """
    if unit in ("byte", "bpe"):
        tokens = [chr(number) for number in range(256)] if unit == "byte" else _pairs(texts, most)
        return tokens, max(map(len, map(tokenizer(unit, tokens), texts)), default=0)
    return most_common(map(tokenizer(unit, ()), texts), most, fewest=2 if unit == "word" else 1)


def most_common(rows: Iterable[Sequence[str]], most: int, *, fewest: int) -> tuple[list[str], int]:
    """Return (the tokens seen at least `fewest` times, most common first, then alphabetical; the longest row's length).

    Rows are cut once, and none is kept: of long texts all tokens together would be many.
    """
    longest = 0

    def measured() -> Iterator[Sequence[str]]:
        nonlocal longest
        for row in rows:
            longest = max(longest, len(row))
            yield row

    counts = Counter(chain.from_iterable(measured()))
    ranked = sorted((-count, token) for token, count in counts.items() if count >= fewest)
    return [token for _, token in ranked[:most]], longest


def _pairs(texts: Iterable[str], most: int) -> list[str]:
    """Learn byte pairs (Sennrich et al. 2016) over bytes (Radford et al. 2019).

    Returns the 256 bytes, then joined pairs in the order in which they were the most common pair.
    """
    counts = Counter(piece for text in texts for piece in PIECE.findall(text))
    words = [list(piece.encode().decode("latin-1")) for piece in counts]
    often = list(counts.values())
    pairs: Counter[tuple[str, str]] = Counter()
    places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)  # the words that hold a pair
    for number, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += often[number]
            places[pair].add(number)
    tokens = [chr(number) for number in range(256)]
    known = set(tokens)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    while heap and len(tokens) < most:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair]:  # it was counted anew meanwhile
            continue
        if -count < 2:
            break
        if (token := "".join(pair)) not in known:
            known.add(token)
            tokens.append(token)
        changed = Counter[tuple[str, str]]()
        for number in places.pop(pair):
            before, words[number] = words[number], _joined(words[number], pair)
            for other in pairwise(before):
                changed[other] -= often[number]
            for other in pairwise(words[number]):
                changed[other] += often[number]
                places[other].add(number)
        for other, difference in changed.items():
            if difference:
                pairs[other] += difference
                heapq.heappush(heap, (-pairs[other], other))
    return tokens


def _joined(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Return a word with every occurrence of the pair made one token."""
    tokens: list[str] = []
    place = 0
    while place < len(word):
        is_pair = tuple(word[place : place + 2]) == pair
        tokens.append("".join(pair) if is_pair else word[place])
        place += 2 if is_pair else 1
    return tokens


class _Joiner:
    """Tokenize the bytes of a piece: join the pair that was learned first, again and again."""

    def __init__(self, ranks: Mapping[str, int]) -> None:
        self.ranks = ranks

    def __call__(self, piece: str) -> tuple[str, ...]:
        word: list[str] = list(piece.encode().decode("latin-1"))  # a token at its first place, "" at its other ones
        after, before = [*range(1, len(word) + 1)], [*range(-1, len(word) - 1)]
        places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        heap: list[tuple[int, int, tuple[str, str]]] = []  # rank, place and pair: the leftmost of equal ranks is first

        def note(place: int) -> None:
            if place >= 0 and after[place] < len(word):
                pair = word[place], word[after[place]]
                if (rank := self.ranks.get("".join(pair))) is not None:
                    places[pair].append(place)
                    heapq.heappush(heap, (rank, place, pair))

        def holds(place: int, pair: tuple[str, str]) -> bool:
            return after[place] < len(word) and (word[place], word[after[place]]) == pair

        for place in range(len(word)):
            note(place)
        while heap:
            _, first, pair = heapq.heappop(heap)
            if not holds(first, pair):
                continue
            joined = []
            for place in sorted(places.pop(pair, ())):
                if holds(place, pair):
                    gone = after[place]
                    word[place], word[gone], after[place] = "".join(pair), "", after[gone]
                    if after[place] < len(word):
                        before[after[place]] = place
                    joined.append(place)
            for place in joined:
                note(before[place])
                note(place)
        return tuple(filter(None, word))
