"""Transcribe sound into text, without an alignment to learn from."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.marks import Section
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.metrics.edit_distance import edit_distance
from evergreen.models.network import Network
from evergreen.models.tasks._pictures import text_diffs
from evergreen.models.text_generation import BEGIN, END, PADDING, decode_line
from evergreen.models.text_stream import Sampling

NOTHING = 4.0  # how much likelier than a letter "nothing" is at first; that it is at most steps takes long to learn


class Speech(Task):
    """Connectionist temporal classification (Graves et al. 2006).

    At each step the output is a letter or nothing, and the loss is that of all ways to spread the transcript over the
    steps. Greedy decoding: the likeliest of each step, repetitions
    and nothings taken out. Output (B, T, V) logits, in which 0 is nothing; target (B, L) tokens.

    Metrics: the share of words and of letters that must be changed to have the transcript (word and character error
    rate, NIST's; may exceed 1). A row is compared by its own word error rate. What is longer than its sound has steps
    cannot be learned and counts nothing in the loss.
    """

    TARGETS = ("text",)
    APPLICATIONS = (("speech to text", "audio", ""),)
    LAYOUTS = ("sequence", "causal")
    METRICS = {"word_error_rate": "min", "character_error_rate": "min"}

    def __init__(self, target: FieldLike, in_features: int) -> None:
        super().__init__(target, in_features)
        self.head = nn.Linear(in_features, target.sizes[0])
        with torch.no_grad():
            self.head.bias[PADDING] = NOTHING

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        log_p_TBV = output.float().log_softmax(2).transpose(0, 1)
        steps_B = torch.full((len(target),), output.shape[1], device=target.device)
        letters_B = (target > END).sum(1) + (target == 1).sum(1)
        losses_B = functional.ctc_loss(
            log_p_TBV, target, steps_B, letters_B, blank=PADDING, reduction="none", zero_infinity=True
        )
        return (losses_B / letters_B.clamp_min(1)).mean()

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return words and letters to change (N, 2), and words and letters of the transcripts (N, 2)."""
        predicted = self.transcripts(output)
        meant = [decode_line(self.target.state, row) for row in target.tolist()]
        words = [[line.split() for line in lines] for lines in (predicted, meant)]
        changes = torch.stack([edit_distance(*words), edit_distance(predicted, meant)], 1)
        counts = [[len(row), len(line)] for row, line in zip(words[1], meant, strict=True)]
        return changes, torch.tensor(counts).view(-1, 2)

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the word error rate of each row."""
        return output[:, 0] / target[:, 0].clamp_min(1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        rates = output.sum(0) / target.sum(0).clamp_min(1)
        return dict(zip(self.METRICS, rates.tolist(), strict=True))

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return the commonest transcript of the training rows."""
        kinds, counts = train["target"].unique(dim=0, return_counts=True)
        letters = [code for code in kinds[counts.argmax()].tolist() if code not in (PADDING, BEGIN, END)]
        path = [code for letter in letters for code in (letter, PADDING)] or [PADDING]
        logits_TV = 10.0 * functional.one_hot(torch.tensor(path), self.target.sizes[0])
        return logits_TV.expand(len(rows["target"]), -1, -1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        return text_diffs("Predicted and actual texts", rows)

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        return [{"prediction": line} for line in self.transcripts(output)]

    def write(self, network: Network, rows: Batch, sampling: Sampling) -> Iterator[Sequence[int]]:
        """Yield the whole transcript: it is known at once. Nothing is drawn, so a temperature changes nothing."""
        yield [*collapse_ctc_path(network(rows)[0].argmax(1).tolist()), END]

    def transcripts(self, output: Tensor) -> list[str]:
        """Return the transcript of each row."""
        return [decode_line(self.target.state, collapse_ctc_path(row)) for row in output.argmax(2).tolist()]


def collapse_ctc_path(path: list[int]) -> list[int]:
    """Return the letters of a path of steps: repetitions are merged, then blanks (0) removed."""
    changed = [code for before, code in zip([PADDING, *path], path, strict=False) if code != before]
    return [code for code in changed if code != PADDING]
