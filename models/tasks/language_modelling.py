"""Predict what comes next in a text."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.config import Fraction
from evergreen.core.marks import Figure, Gallery, Section, StyledText, Text
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.network import Network
from evergreen.models.tasks._pictures import LONGEST, ORDER, TEXTS, joined
from evergreen.models.text_generation import (
    END,
    PADDING,
    count_characters,
    decode_tokens,
    generate,
    iter_tokens,
    sample_top_p,
)
from evergreen.models.text_stream import Sampling

MOST = 2_000  # tokens of a vocabulary whose pairs are counted by the baseline
PRIOR = 2.0  # how many pairs the frequencies of single tokens are worth beside those counted


class LanguageModelling(Task):
    """Each token is predicted from those before it, by cross-entropy.

    Output (B, L, V) logits, of which the i-th are of token i; target (B, L) tokens, padding ignored. The first token
    has nothing before it: a learned vector stands for that. Metrics: bits per character (Shannon
    1951) and per token, perplexity per token (Jelinek et al. 1977). The answer to a request is the text written on by
    up to `length` tokens, drawn at `temperature` from the likeliest that hold `top_p` of the probability (Holtzman et
    al. 2020). Where rows are `pieces` of a longer text, that they end is neither learned nor written.
    """

    TARGETS = ("text",)
    APPLICATIONS = (("writing on, autocompletion", "text", ""),)
    LAYOUTS = ("causal",)
    TARGET_IS_INPUT = True
    METRICS = {"bits_per_character": "min", "bits_per_token": "min", "perplexity": "min"}

    held: Tensor  # (V,) characters that each token stands for

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        temperature: float = 0.8,
        top_p: Fraction = 0.95,
        length: int = 100,
        pieces: bool = False,
    ) -> None:
        super().__init__(target, in_features)
        self.temperature, self.top_p, self.length, self.pieces = temperature, top_p, length, pieces
        (self.vocabulary,) = target.sizes
        self.first = nn.Parameter(torch.zeros(in_features))
        self.head = nn.Linear(in_features, self.vocabulary, bias=False)
        counts = [count_characters(target.state["unit"], token) for token in target.state["values"][0]]
        self.register_buffer("held", torch.tensor([0, 1, 0, 0, *counts]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        first = self.first.expand(len(features), 1, -1).to(features.dtype)
        return self.head(torch.cat([first, features[:, :-1]], 1))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(
            output.flatten(0, 1), self._predicted_tokens(target).flatten(), ignore_index=PADDING
        )

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bits (N,) of each row, and its characters and tokens (N, 2)."""
        target = self._predicted_tokens(target)
        nats_BL = functional.cross_entropy(output.transpose(1, 2), target, ignore_index=PADDING, reduction="none")
        bits = nats_BL.double().sum(1) / math.log(2)
        return bits, torch.stack([self.held[target].sum(1), (target != PADDING).sum(1)], 1)

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return bits per character."""
        return output / target[:, 0].clamp_min(1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        characters, tokens = target.sum(0).tolist()
        per_token = float(output.sum()) / tokens
        per_character = float(output.sum()) / max(1, characters)
        return {"bits_per_character": per_character, "bits_per_token": per_token, "perplexity": 2**per_token}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return frequencies of pairs of tokens, with those of single tokens as prior (MacKay and Peto 1995).

        Where the vocabulary is large, it returns those of single tokens alone.
        """
        before, now = _pairs(train["target"])
        single_V = torch.bincount(now[now != PADDING], minlength=self.vocabulary).float() + 1e-3
        single_V /= single_V.sum()
        if self.vocabulary > MOST:
            return single_V.log().expand(*rows["target"].shape, -1)
        is_token = now != PADDING
        pairs = torch.bincount((before * self.vocabulary + now)[is_token], minlength=self.vocabulary**2).float()
        pairs_VV = pairs.view(self.vocabulary, self.vocabulary) + PRIOR * single_V
        log_VV = (pairs_VV / pairs_VV.sum(1, keepdim=True)).log()
        return log_VV[_pairs(rows["target"])[0]].view(*rows["target"].shape, -1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return texts, their tokens marked where another was likelier."""
        state, chosen = self.target.state, rows.spread(TEXTS)
        glue = " " if state["unit"] == "word" else ""
        figures = []
        for output, target in zip(rows.output(chosen), rows.target[chosen], strict=True):
            right = (output[: len(target)].argmax(1) == target).tolist()
            tokens = [joined(decode_tokens(state, [token])) for token in target[:LONGEST].tolist()]
            pairs = zip(tokens, right, strict=False)
            pieces = [(token + glue, "" if good else "marked") for token, good in pairs if token]
            figures.append(Figure([StyledText(pieces)]))
        about = "Read from left to right: what is marked it would not have written there; " + ORDER
        return Section("Which tokens it foretells", [Text(about, note=True), Gallery(figures, wide=True)])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        """Return the most likely token at each place, given the true ones before it."""
        return [{"prediction": decode_tokens(self.target.state, row)} for row in output.argmax(-1).tolist()]

    def predict(self, network: Network, rows: Batch) -> list[dict[str, Any]]:
        """Continue each row's text."""
        texts = generate(network, rows, _find_text(rows), self.length, self._draw)
        return [{"prediction": decode_tokens(self.target.state, row)} for row in texts.tolist()]

    def write(self, network: Network, rows: Batch, sampling: Sampling) -> Iterator[Sequence[int]]:
        """Yield the tokens that continue one row's text."""
        length = sampling.max_tokens or self.length
        draw = partial(self._draw, temperature=sampling.temperature, top_p=sampling.top_p)
        for token_B in iter_tokens(network, rows, _find_text(rows), length, draw, sampling.seed):
            yield token_B.tolist()

    def _predicted_tokens(self, tokens_BL: Tensor) -> Tensor:
        """Return the tokens to be predicted: of a piece all but its end, which is arbitrary."""
        return tokens_BL.masked_fill(tokens_BL == END, PADDING) if self.pieces else tokens_BL

    def _draw(
        self, logits_BV: Tensor, number: float, temperature: float | None = None, top_p: float | None = None
    ) -> Tensor:
        if self.pieces:
            logits_BV[:, END] = -torch.inf
        temperature = self.temperature if temperature is None else temperature
        return sample_top_p(logits_BV, number, temperature, top_p or self.top_p)


def _find_text(rows: Batch) -> str:
    """Return the name of the text that is written on."""
    return next(name for name, column in rows.items() if column.dtype == torch.int64 and column.ndim == 2)


def _pairs(tokens_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Return each token's predecessor, padding for a row's first, and the token itself: (B · L,) each."""
    return functional.pad(tokens_BL, (1, 0))[:, :-1].flatten(), tokens_BL.flatten()
