"""Decode tokens into text, and generate tokens one after another."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evergreen.models.base import Batch
from evergreen.models.network import Network

PADDING, UNKNOWN, BEGIN, END, SPECIAL = 0, 1, 2, 3, 4  # tokens before the vocabulary, as data encodes text
UNSEEN = "\ufffd"
CLOSING, OPENING = set(".,;:!?)]}%…-/"), set("([{-/")  # no space before, none after
Draw = Callable[[Tensor, float], Tensor]  # logits (B, V) and a number of [0, 1) → tokens (B,)


def decode_line(state: Mapping[str, Any], codes: Sequence[int]) -> str:
    """Return what `decode_tokens` does in one line, also where the data write lists of words."""
    decoded = decode_tokens(state, codes)
    return decoded if isinstance(decoded, str) else " ".join(decoded)


def decode_tokens(state: Mapping[str, Any], codes: Sequence[int]) -> str | list[str]:
    """Return the text of tokens up to the end token, written as the data write it: a text or a list of words."""
    codes = codes[: codes.index(END)] if END in codes else codes
    known = state["values"][0]
    tokens = [known[code - SPECIAL] if code >= SPECIAL else UNSEEN for code in codes if code not in (PADDING, BEGIN)]
    if state.get("listed"):
        return tokens
    if state["unit"] in ("byte", "bpe"):
        return "".join(tokens).encode("latin-1", "replace").decode(errors="replace")
    if state["unit"] == "character":
        return "".join(tokens)
    text = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        text += token if before is None or token in CLOSING or before in OPENING else f" {token}"
    return text


def count_characters(unit: str, token: str) -> int:
    """Count the characters of text that a token stands for; a word's include the space after it."""
    if unit in ("byte", "bpe"):
        return sum(not 0x80 <= ord(byte) < 0xC0 for byte in token)  # later bytes of a character begin with 10
    return len(token) + (unit == "word")


def sample_top_p(logits_BV: Tensor, number: float, temperature: float, top_p: float) -> Tensor:
    """Draw tokens (B,) from the most likely ones that hold `top_p` of the probability.

    Nucleus sampling (Holtzman et al. 2020, section 3.1) by inverting the cumulative probability at `number`, so that a
    row's token depends on that row alone.
    """
    if temperature == 0:
        return logits_BV.argmax(1)
    p_BV, order_BV = (logits_BV.float() / temperature).softmax(1).sort(dim=1, descending=True, stable=True)
    before_BV = p_BV.cumsum(1) - p_BV
    mass_B1 = (p_BV * (before_BV < top_p)).sum(1, keepdim=True)
    place_B1 = (before_BV <= number * mass_B1).sum(1, keepdim=True) - 1
    return order_BV.gather(1, place_B1)[:, 0]


def generate(network: Network, rows: Batch, name: str, length: int, draw: Draw) -> Tensor:
    """Return tokens (B, length) that continue the text `name` of each row, padded after the end token."""
    return torch.stack([*iter_tokens(network, rows, name, length, draw)], 1)


@torch.no_grad()
def iter_tokens(
    network: Network, rows: Batch, name: str, length: int, draw: Draw, seed: int = 0
) -> Generator[Tensor, None, None]:
    """Yield up to `length` tokens (B,) that continue the text `name` of each row, one after another.

    An architecture that has `begin` and `extend` reads each token once; others read the whole text for each. A text
    that leaves no room for the new tokens within the longest training text loses its beginning, half of it at most.
    """
    max_length, head = network.task.target.shape[0], network.task.get_submodule("head")
    tokens_BL, lengths_B = _last_tokens(rows[name], max(max_length - length, -(-max_length // 2)))
    write = _cached if hasattr(network.architecture, "extend") else _reread
    features = write(network, rows, name, tokens_BL, lengths_B, length)
    chance = torch.Generator().manual_seed(seed)  # the same text is written on alike every time
    ended_B = torch.zeros(len(tokens_BL), dtype=torch.bool, device=tokens_BL.device)
    features_BF = next(features)
    for place in range(1, length + 1):
        logits_BV = head(features_BF).float()
        logits_BV[:, [PADDING, UNKNOWN, BEGIN]] = -torch.inf
        token_B = draw(logits_BV, float(torch.rand((), generator=chance)))
        yield token_B.masked_fill(ended_B, PADDING)
        ended_B = ended_B | (token_B == END)
        if place == length or bool(ended_B.all()):
            break
        features_BF = features.send(token_B)


def _last_tokens(tokens_BL: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
    """Return the last `max_tokens` real tokens of each row, padded behind, and their number, at least one."""
    lengths_B = (tokens_BL != PADDING).sum(1)
    first_B1 = (lengths_B - max_tokens).clamp_min(0)[:, None]
    places = torch.arange(min(max_tokens, tokens_BL.shape[1]), device=tokens_BL.device)
    return tokens_BL.gather(1, (first_B1 + places).clamp_max(tokens_BL.shape[1] - 1)), lengths_B.clamp(1, max_tokens)


def _cached(
    network: Network, rows: Batch, name: str, tokens_BL: Tensor, lengths_B: Tensor, length: int
) -> Generator[Tensor, Tensor, None]:
    """Yield features (B, F) of each row's last token, then of each token sent."""
    writer: Any = network.architecture
    features_BLF, cache = writer.begin({**rows, name: tokens_BL}, length)
    features_BF = features_BLF[torch.arange(len(lengths_B)), lengths_B - 1]
    reach = writer.reach  # tokens that the reading of one looks at
    places_BR = lengths_B[:, None] + torch.arange(reach, device=lengths_B.device)
    recent_BR = torch.nn.functional.pad(tokens_BL, (reach, 0)).gather(1, places_BR)
    while True:
        token_B = yield features_BF
        recent_BR = torch.cat([recent_BR[:, 1:], token_B[:, None]], 1)
        features_BF = writer.extend({**rows, name: recent_BR}, lengths_B, cache)
        lengths_B = lengths_B + 1


def _reread(
    network: Network, rows: Batch, name: str, tokens_BL: Tensor, lengths_B: Tensor, length: int
) -> Generator[Tensor, Tensor, None]:
    """Do as `_cached` for architectures without a cache: read the last tokens again for every new one."""
    each = torch.arange(len(lengths_B), device=tokens_BL.device)
    tokens_BL = torch.nn.functional.pad(tokens_BL, (0, length))
    while True:
        recent_BL, places_B = _last_tokens(tokens_BL, network.task.target.shape[0])
        token_B = yield network.architecture({**rows, name: recent_BL})[each, places_B - 1]
        tokens_BL[each, lengths_B] = token_B
        lengths_B = lengths_B + 1
