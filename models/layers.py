"""Turn inputs of any kind into one vector or one sequence; layers that several architectures share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from evergreen.models.base import ROW_KINDS, SEQUENCE_KINDS, Batch, FieldLike, Inputs

PADDING = 0  # the token behind the end of a text
STEPWISE_KINDS = ("text", "series", "audio", "image")  # kinds that are read step by step
COUNTED_KINDS = ("text", "tokens")  # those whose tokens can be counted instead
FLATTENABLE_KINDS = ROW_KINDS | SEQUENCE_KINDS | {"image", "graph"}  # kinds that make sense as one vector
NGRAMS = "ngrams"  # the further tensor of a text that holds its words and pieces of words
TEXT_NORM = 8  # length of a text's vector of counts: one that suits weights that are decayed as those of numbers are
MAX_ONE_HOT, EMBEDDING_WIDTH = 1000, 32  # values of a category above which each is a learned vector of so many numbers
PADDED_KINDS = ("text", "audio")  # those of them whose rows may be of different lengths


class FlattenInputs(nn.Module):
    """Concatenate all inputs of a row into one vector (B, width).

    Categories become one-hot, so that a linear map of them equals the sum of one embedding a column; a category of more
    than a thousand values is embedded at once, which makes a linear model of it a factorization (Koren et al. 2009).
    Text becomes the counts of its words, a graph the mean of its nodes and its centre; everything else is flattened.
    With `ngrams`, text becomes the TF-IDF of its words and pieces of words instead, where the data holds them.
    """

    __call__: Callable[..., Tensor]

    def __init__(self, inputs: Inputs, *, ngrams: bool = False) -> None:
        super().__init__()
        self.fields = dict(inputs)
        self.counted = [name for name, field in inputs.items() if ngrams and ngrams_state(field)]
        for place, name in enumerate(self.counted):
            self.register_buffer(f"rarity_{place}", inverse_frequencies(ngrams_state(inputs[name])), persistent=False)
        self.tables = nn.ModuleDict(
            {
                f"{place}_{column}": _table(size)
                for place, field in enumerate(inputs.values())
                for column, size in enumerate(field.sizes)
                if field.kind == "category" and size > MAX_ONE_HOT
            }
        )
        self.width = sum(
            len(self._rarity(name)) if name in self.counted else _flat_width(field) for name, field in inputs.items()
        )

    def forward(self, batch: Batch) -> Tensor:
        parts = []
        for place, (name, field) in enumerate(self.fields.items()):
            if name in self.counted:
                parts.append(tf_idf(batch[f"{name} {NGRAMS}"], self._rarity(name)))
                continue
            if field.kind != "category":
                parts.append(_flat(field, batch[name]))
                continue
            for column, (x_B, size) in enumerate(zip(batch[name].unbind(1), field.sizes, strict=True)):
                key = f"{place}_{column}"
                wide = key in self.tables
                parts.append(self.tables[key](x_B) if wide else functional.one_hot(x_B, size).float())
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _rarity(self, name: str) -> Tensor:
        return self.get_buffer(f"rarity_{self.counted.index(name)}")


def _table(size: int) -> nn.Embedding:
    table = nn.Embedding(size, EMBEDDING_WIDTH)
    nn.init.normal_(table.weight, std=0.1)
    return table


def _flat_width(field: FieldLike) -> int:
    if field.kind == "category":
        return sum(size if size <= MAX_ONE_HOT else EMBEDDING_WIDTH for size in field.sizes)
    if field.kind in COUNTED_KINDS:
        return sum(field.sizes)
    if field.kind == "graph":
        return 2 * int(field.state["features"])
    return torch.Size(field.shape).numel()


def _flat(field: FieldLike, x: Tensor) -> Tensor:
    if field.kind in COUNTED_KINDS:
        counts = x.new_zeros(len(x), *field.sizes, dtype=torch.float32)
        counts = counts.scatter_add_(1, x, (x != PADDING).float())
        return (TEXT_NORM * counts).div(counts.norm(dim=1, keepdim=True).clamp_min(1))
    if field.kind == "graph":
        nodes_BMF, real_BM, _, _ = split_graph(x, int(field.state["features"]))
        mean_BF = (nodes_BMF * real_BM[..., None]).sum(1) / real_BM.sum(1, keepdim=True).clamp_min(1)
        return torch.cat([mean_BF, nodes_BMF[:, 0]], 1)
    return x.flatten(1)


def ngrams_state(field: FieldLike) -> Any:
    """Return the state of a text's words and pieces of words; {} where the data has none."""
    return field.state.get("further", {}).get(NGRAMS, {})


def inverse_frequencies(state: Any) -> Tensor:
    """Return (V,) ln((1 + N) / (1 + n)) + 1 of each bucket; 0 of one that no training text had."""
    found = torch.tensor(state["found"], dtype=torch.float64)
    return torch.where(found > 0, ((1 + state["rows"]) / (1 + found)).log() + 1, 0.0).float()


def tf_idf(x_BL: Tensor, rarity_V: Tensor) -> Tensor:
    """Return (B, V) counts of the numbers 1 to V, weighted by rarity and scaled to the length TEXT_NORM."""
    counts = torch.zeros(x_BL.shape[0], 1 + len(rarity_V), device=x_BL.device)
    counts = counts.scatter_add_(1, x_BL.long(), torch.ones_like(x_BL, dtype=counts.dtype))[:, 1:] * rarity_V
    return TEXT_NORM * functional.normalize(counts)


def split_graph(x_BMX: Tensor, features: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split encoded graphs into nodes (B, M, F), mask (B, M), true degrees (B, M) and adjacency (B, M, M)."""
    nodes, rest = x_BMX[..., :features], x_BMX[..., features:]
    return nodes, rest[..., 0] > 0, rest[..., 1], rest[..., 2:]


class SequenceInputs(nn.Module):
    """Read all inputs of a row as one sequence: steps (B, L, D) and which of them are real (B, L).

    Tokens of text are embedded; values of a series, frames of audio and rows of an image are mapped linearly. Several
    sequences follow each other in the order of the inputs. All other inputs make one vector, which is added to every
    step. `length` is L, `first` the number of steps of the first sequence.
    """

    __call__: Callable[..., tuple[Tensor, Tensor]]

    def __init__(self, inputs: Inputs, width: int) -> None:
        super().__init__()
        walks = {name: field for name, field in inputs.items() if field.kind in STEPWISE_KINDS}
        rest = {name: field for name, field in inputs.items() if name not in walks}
        self.kinds = {name: field.kind for name, field in walks.items()}
        self.readers = nn.ModuleDict({name: _reader(field, width) for name, field in walks.items()})
        self.rest = FlattenInputs(rest) if rest else None
        self.context = nn.Linear(self.rest.width, width) if self.rest else None
        lengths = [_steps(field) for field in walks.values()] or [1]
        self.length, self.first, self.width = sum(lengths), lengths[0], width

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        parts, real = [], []
        for name, reader in self.readers.items():
            x = batch[name] if self.kinds[name] == "text" else image_rows_to_sequence(batch[name])
            parts.append(reader(x))
            real.append(_real_steps(self.kinds[name], x))
        if self.rest is None or self.context is None:
            return torch.cat(parts, 1), torch.cat(real, 1)
        context_B1D = self.context(self.rest(batch))[:, None]
        if not parts:
            return context_B1D, context_B1D.new_ones(context_B1D.shape[:2], dtype=torch.bool)
        return torch.cat(parts, 1) + context_B1D, torch.cat(real, 1)


def _reader(field: FieldLike, width: int) -> nn.Module:
    if field.kind == "text":
        return nn.Embedding(field.sizes[0], width)
    return nn.Linear(sequence_width(field), width)


def _steps(field: FieldLike) -> int:
    return field.shape[1] if len(field.shape) == 3 else field.shape[0]


def _real_steps(kind: str, x: Tensor) -> Tensor:
    """Return a mask (B, L), False on padding; the first step is always real, so that no row is empty."""
    if kind not in PADDED_KINDS:
        return x.new_ones(x.shape[:2], dtype=torch.bool)
    is_real = (x != PADDING) if kind == "text" else x.abs().sum(2) > 0
    is_real = is_real.long().flip(1).cummax(1).values.flip(1).bool()  # what comes before a real step is real
    is_real[:, 0] = True
    return is_real


def run_packed(cell: nn.Module, x_BLD: Tensor, real_BL: Tensor) -> tuple[Tensor, Any]:
    """Run a recurrent cell over the real steps alone; return its outputs (B, L, F) and its last state.

    Two sequences that follow each other may each have padding of their own.
    """
    order_BL = (~real_BL).byte().argsort(dim=1, stable=True)  # real steps first
    x_BLD = x_BLD.gather(1, order_BL[..., None].expand_as(x_BLD))
    steps = pack_padded_sequence(x_BLD, real_BL.sum(1).cpu(), batch_first=True, enforce_sorted=False)
    output, state = cell(steps)
    y_BLF, _ = pad_packed_sequence(output, batch_first=True, total_length=real_BL.shape[1])
    return y_BLF.gather(1, order_BL.argsort(1)[..., None].expand_as(y_BLF)), state


def image_rows_to_sequence(x: Tensor) -> Tensor:
    """Return a series (B, T, C) as it is, an image (B, C, H, W) row by row as (B, H, C · W)."""
    return x if x.ndim == 3 else x.transpose(1, 2).flatten(2)


def sequence_width(field: FieldLike) -> int:
    """Return the width of one step of a field: C of a series (T, C), C · W of an image (C, H, W)."""
    return field.shape[1] if len(field.shape) == 2 else field.shape[0] * field.shape[2]
