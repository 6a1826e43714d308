"""Write the text that answers one row piece by piece, as is asked for: how long, how boldly, up to which words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from evergreen.models.base import Batch, FieldLike
from evergreen.models.network import Network
from evergreen.models.text_generation import END, UNSEEN, decode_line

STOPPED, TOO_LONG = "stop", "length"  # why a text ends


@dataclass(frozen=True)
class Sampling:
    """Say how a text is to be written; None leaves it to the task."""

    max_tokens: int | None = None
    temperature: float | None = None  # 0: the likeliest token each time
    top_p: float | None = None  # probability of the likeliest tokens that one is drawn from
    stop: tuple[str, ...] = ()  # texts before which it ends
    seed: int = 0  # the same draws the same text


@runtime_checkable
class WritesText(Protocol):
    """The contract of a task whose answer is a text that it can write token by token."""

    target: FieldLike

    def write(self, network: Network, rows: Batch, sampling: Sampling) -> Iterator[Sequence[int]]:
        """Yield the tokens of the answer to one row, some at a time; the end token where it comes to an end."""


class Piece(NamedTuple):
    """A piece of text, the tokens up to its end, and why it is the last one; "" where more come."""

    text: str
    n_tokens: int
    finish_reason: str = ""


def write_text(network: Network, rows: Batch, sampling: Sampling) -> Iterator[Piece]:
    """Yield the answer to one row in pieces; what may be the beginning of a stop, or of a character, is held back."""
    task = network.task
    assert isinstance(task, WritesText)
    tokens: list[int] = []
    n_shown = 0
    for more in task.write(network, rows, sampling):
        tokens = [*tokens, *more][: sampling.max_tokens]
        text, reason = decode_line(task.target.state, tokens), STOPPED if END in tokens else ""
        if places := [place for stop in sampling.stop if (place := text.find(stop)) >= 0]:
            text, reason = text[: min(places)], STOPPED
        elif len(tokens) == sampling.max_tokens:
            reason = reason or TOO_LONG
        end = len(text) if reason else _find_certain_end(text, sampling.stop)
        yield Piece(text[n_shown:end], len(tokens) - (END in tokens), reason)
        if reason:
            return
        n_shown = end
    yield Piece(decode_line(task.target.state, tokens)[n_shown:], len(tokens), TOO_LONG)


def _find_certain_end(text: str, stops: Sequence[str]) -> int:
    """Return the place up to which a text stays, whatever comes next."""
    end = len(text.rstrip(UNSEEN))
    for stop in stops:
        for n_characters in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:n_characters]):
                end = min(end, len(text) - n_characters)
                break
    return end
