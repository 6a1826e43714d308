"""Predict a tag for each word of a text."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.marks import Figure, Gallery, Section, StyledText, Table, Text
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.network import Network
from evergreen.models.tasks._pictures import ORDER, TEXTS

PADDING = -100  # of tags
OUTSIDE = "O"


class Tagging(Task):
    """Softmax over K tags at each position, by cross-entropy.

    Output (B, L, K) logits, target (B, L) tags, −100 is ignored.

    Metrics: log-loss of a tag decides, for most tags are O; f1, of whole entities where tags are written B-x, I-x and O
    (exact spans: Tjong Kim Sang and De Meulder 2003), else of all tags but O; its mean over the tags that occur; the
    share of right tags.
    """

    VERSION = 2

    TARGETS = ("tags",)
    APPLICATIONS = (("names, places, products in text", "text", ""),)
    LAYOUTS = ("sequence", "causal")
    METRICS = {"log_loss": "min", "f1": "max", "macro_f1": "max", "accuracy": "max"}

    kind: Tensor  # (K,) which entity each tag is of, 0 outside of any
    begins: Tensor  # (K,) whether it begins one

    def __init__(self, target: FieldLike, in_features: int) -> None:
        super().__init__(target, in_features)
        self.tags: list[str] = list(target.state["values"][0])
        self.head = nn.Linear(in_features, len(self.tags))
        kinds = sorted({tag[2:] for tag in self.tags if tag[:2] in ("B-", "I-")})
        self.entities = bool(kinds) and all(tag == OUTSIDE or tag[2:] in kinds for tag in self.tags)
        kind = [kinds.index(tag[2:]) + 1 if self.entities and tag != OUTSIDE else 0 for tag in self.tags]
        self.register_buffer("kind", torch.tensor(kind), persistent=False)
        self.register_buffer("begins", torch.tensor([tag.startswith("B-") for tag in self.tags]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features[:, : self.target.shape[0]])

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        target = target[:, : output.shape[1]]
        return functional.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=PADDING)

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return counts (N, 2 + K, 3) and words (N,): of entities and each tag the right, predicted and actual ones.

        The last three numbers are a row's log-loss, summed over its words, and two zeros. Entities are all tags but O
        where tags are not written B-x, I-x.
        """
        said_BL = output.argmax(-1).masked_fill(target[:, : output.shape[1]] == PADDING, PADDING)
        true_BL = target[:, : output.shape[1]]
        each = torch.arange(len(self.tags), device=target.device)[:, None, None]
        said_KBL, true_KBL = said_BL == each, true_BL == each
        counts_BK3 = torch.stack([part.sum(2).T for part in (said_KBL & true_KBL, said_KBL, true_KBL)], 2)
        if self.entities:
            whole_B3 = self._spans(said_BL, true_BL)
        else:
            whole_B3 = counts_BK3[:, [k for k, tag in enumerate(self.tags) if tag != OUTSIDE]].sum(1)
        logits_BKL = output.double().transpose(1, 2)
        loss_BL = functional.cross_entropy(logits_BKL, true_BL, ignore_index=PADDING, reduction="none")
        loss_B3 = functional.pad(loss_BL.sum(1, keepdim=True), (0, 2))
        return torch.stack([whole_B3.double(), *counts_BK3.double().unbind(1), loss_B3], 1), (target != PADDING).sum(1)

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the log-loss of a tag, a mean over the words of a row."""
        return output[:, -1, 0] / target.clamp_min(1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        right, predicted, actual = output[:, :-1].sum(0).T
        f1 = 2 * right / (predicted + actual)  # nan where a tag is neither said nor there
        words = target.sum()
        return {
            "log_loss": float(output[:, -1, 0].sum() / words),
            "f1": float(f1[0].nan_to_num(1.0)),
            "macro_f1": float(f1[1:].nanmean()),
            "accuracy": float(right[1:].sum() / words),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return each word's commonest tag in the training rows, the commonest of all for unseen words."""
        length, classes = self.target.shape[0], len(self.tags)
        name = next((name for name, column in rows.items() if name != "target" and _tokens(column)), "")
        words = {
            part: batch[name] if name else batch["target"] * 0 for part, batch in (("train", train), ("rows", rows))
        }
        vocabulary = 1 + max(int(tokens.max()) for tokens in words.values())
        target = functional.pad(train["target"], (0, max(0, words["train"].shape[1] - length)), value=PADDING)
        target = target[:, : words["train"].shape[1]]
        real = target != PADDING
        pairs = words["train"][:, : target.shape[1]][real].clamp_min(0) * classes + target[real]
        table = torch.bincount(pairs, minlength=vocabulary * classes).view(vocabulary, classes).float()
        table = (table + 0.1 * table.sum(0) / table.sum()).log()
        return table[words["rows"][:, :length].clamp_min(0)]

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return how well each tag is found, and rows of words with theirs."""
        counts = rows.metric_inputs[0].sum(0)[1:-1].tolist()  # (K, 3): right, predicted, actual
        table = [
            [
                str(tag),
                int(actual),
                right / (predicted or 1),
                right / (actual or 1),
                2 * right / (predicted + actual or 1),
            ]
            for tag, (right, predicted, actual) in zip(self.tags, counts, strict=True)
        ]
        chosen = rows.spread(TEXTS)
        figures = []
        for row, answer, values in zip(chosen, rows.answers(chosen), rows.values(chosen), strict=True):
            if words := next((value for value in values.values() if isinstance(value, list)), None):
                figures.append(Figure([StyledText(_tagged(words, answer["prediction"], rows.truth[row]))]))
        about = "Struck out is a tag it predicted and should not have, underlined the right one; " + ORDER
        marks = [Text(about, note=True), Gallery(figures, wide=True)] if figures else []
        head = ["tag", "words", "precision", "recall", "F1"]
        return Section("Which tags are found", [Table(head, table), *marks])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        """Return a tag for every position, padding included."""
        return [{"prediction": [self.tags[code] for code in row]} for row in output.argmax(-1).tolist()]

    def predict(self, network: Network, rows: Batch) -> list[dict[str, Any]]:
        """Return a tag for each word of a row."""
        answers = self.decode(network(rows))
        name = next((name for name, column in rows.items() if _tokens(column)), "")
        if name:
            for answer, length in zip(answers, (rows[name] != 0).sum(1).tolist(), strict=True):
                answer["prediction"] = answer["prediction"][:length]
        return answers

    def _spans(self, said_BL: Tensor, true_BL: Tensor) -> Tensor:
        """Return counts (B, 3) of entities found exactly, predicted, and actual."""
        (predicted, said_end, said_kind), (true, true_end, true_kind) = self._entities(said_BL), self._entities(true_BL)
        right = predicted & true & (said_end == true_end) & (said_kind == true_kind)
        return torch.stack([part.sum(1) for part in (right, predicted, true)], 1)

    def _entities(self, tags_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return whether an entity begins here, where what follows it begins, and its kind, (B, L) each.

        An I- without its B- before begins one, too.
        """
        real = tags_BL != PADDING
        kind = self.kind[tags_BL.clamp_min(0)] * real
        before = functional.pad(kind, (1, 0))[:, :-1]
        begins = (kind > 0) & ((kind != before) | (self.begins[tags_BL.clamp_min(0)] & real))
        edge = begins | (kind == 0)
        length = tags_BL.shape[1]
        places = torch.where(edge, torch.arange(length, device=tags_BL.device), length)
        after = functional.pad(places, (0, 1), value=length)[:, 1:]
        return begins, after.flip(1).cummin(1).values.flip(1), kind


def _tokens(column: Tensor) -> bool:
    return column.dtype == torch.int64 and column.ndim == 2


def _tagged(words: list[str], predicted: list[str], actual: list[str]) -> list[tuple[str, str]]:
    """Return each word with its tag, those outside of any entity without."""
    pieces: list[tuple[str, str]] = []
    for word, guess, true in zip(words, predicted, actual, strict=False):
        if guess == true:
            pieces += [(word, "")] if true == "O" else [(word, "strong"), (true, "tag")]
        else:
            pieces += [(word, "strong"), (guess, "deleted"), (true, "inserted")]
        pieces.append((" ", ""))
    return pieces
