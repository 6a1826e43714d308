"""The Transformer's decoder, which reads forward alone and so can generate."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.models.base import ROW_KINDS, SEQUENCE_KINDS, Architecture, Batch, Inputs
from evergreen.models.layers import SequenceInputs

HEAD, WIDE = 32, 512  # width of a head; from WIDE features on it is doubled, as GPUs like it
LINES = 1 << 16  # of the table of runs
FORGOTTEN = 0.2  # chance, while learning, that a run is hidden with all longer ones
BASE = 10_000.0  # of the wavelengths of rotary positions
Cache = list[tuple[Tensor, Tensor]]  # per block the keys and values so far, (B, heads, L, width of a head)


class Decoder(Architecture):
    """Decoder of the Transformer (Radford et al. 2018), in its present form.

    It has rotary positions (Su et al. 2021), RMS norms (Zhang and Sennrich 2019) before each part, gated feed-forward
    layers (Shazeer 2020) and no biases. Each step looks at those before it and takes from what matters. Because no step
    sees what comes after, all steps learn to foretell the next at once; writing on, `begin` and `extend` keep the keys
    and values of what was read. Of text it also looks up the `runs` of 2 to 5 tokens that end at a step; runs=1 is the
    Transformer alone.

    In: text (B, L), series (B, T, C), audio (B, T, M); number, category and labels go with every
    step. Out: causal (B, L, F), F = 64 · size; pooled (B, F), the last real step.
    Choose it to write text; with size=12, depth=12, runs=1 it has the shape of GPT-2 with 124 million parameters.
    At size=1: Python's language reference 1.82 bits per character of its last tenth (rows of 256, 8 epochs) in 130 s of
    one core.
    """

    ACCEPTS = SEQUENCE_KINDS | ROW_KINDS
    NEEDS_ONE_OF = SEQUENCE_KINDS
    LAYOUTS = ("causal", "pooled")
    CAN_TRIM_PADDING = True
    SEARCH_SPACE = {
        "learning_rate": (5e-4, 1e-2, "log"),
        "dropout": (0.0, 0.3),
        "depth": [1, 2, 3, 4],
        "size": [0.5, 1.0, 2.0],
    }
    DEFAULTS = {"learning_rate": 4e-3, "weight_decay": 0.1, "clip": 1.0, "ema": 0.98, "keep": "last"}

    def __init__(
        self,
        inputs: Inputs,
        *,
        layout: str = "causal",
        size: float = 1.0,
        depth: int = 3,
        dropout: float = 0.1,
        runs: int = 5,
    ) -> None:
        super().__init__()
        head = HEAD if 64 * size < WIDE else 2 * HEAD
        heads = max(1, round(64 * size / head))
        self.layout, self.out_features = layout, heads * head
        self.steps = SequenceInputs(inputs, self.out_features)
        self.text = next((name for name, field in inputs.items() if field.kind == "text"), "")
        self.runs = (
            NGramEmbedding(self.out_features, runs, round(LINES * min(1.0, size))) if self.text and runs > 1 else None
        )
        self.reach = runs if self.runs else 1  # tokens that the reading of one looks at
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([_Block(self.out_features, heads, dropout) for _ in range(depth)])
        self.norm = nn.RMSNorm(self.out_features)
        for name, matrix in self.blocks.named_parameters():
            if matrix.ndim == 2:  # what is added to the stream starts smaller the more often there is something added
                nn.init.normal_(matrix, std=0.02 if name.endswith("into.weight") else 0.02 / (2 * depth) ** 0.5)

    def forward(self, batch: Batch) -> Tensor:
        x_BLD, real_BL = self._read(batch)
        places = torch.arange(x_BLD.shape[1], device=x_BLD.device)
        x_BLD = self.dropout(x_BLD)
        for block in self.blocks:
            x_BLD = block(x_BLD, places)
        y_BLD: Tensor = self.norm(x_BLD)
        if self.layout == "causal":
            return y_BLD[:, : self.steps.first]
        last_B = (real_BL * places).argmax(1)
        return y_BLD.gather(1, last_B[:, None, None].expand(-1, 1, self.out_features))[:, 0]

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x_BLD, real_BL = self.steps(batch)
        if self.runs is not None:
            x_BLD = x_BLD + functional.pad(
                self.runs(batch[self.text]), (0, 0, 0, x_BLD.shape[1] - batch[self.text].shape[1])
            )
        return x_BLD, real_BL

    def begin(self, batch: Batch, room: int) -> tuple[Tensor, Cache]:
        """Return features (B, L, F) of a text, and its keys and values with room for so many steps more."""
        cache: Cache = []
        x_BLD, _ = self._read(batch)
        places = torch.arange(x_BLD.shape[1], device=x_BLD.device)
        for block in self.blocks:
            x_BLD = block(x_BLD, places, cache, room)
        return self.norm(x_BLD), cache

    def extend(self, batch: Batch, places_B: Tensor, cache: Cache) -> Tensor:
        """Return features (B, F) of one step more in each row.

        `batch` holds its last `reach` tokens, `places_B` says where the last one stands. What `cache` held of that
        place is overwritten.
        """
        x_B1D = self._read(batch)[0][:, -1:]
        for block, steps in zip(self.blocks, cache, strict=True):
            assert isinstance(block, _Block)
            x_B1D = block.extend(x_B1D, places_B, steps)
        return torch.squeeze(self.norm(x_B1D), 1)


class NGramEmbedding(nn.Module):
    """Add a vector for each run of 2, 3 … tokens up to a place (Pagnoni et al. 2024, section 3.2.1).

    Runs are looked up in a table of fixed size through a hash; two may share a line.
    """

    def __init__(self, width: int, longest: int, lines: int) -> None:
        super().__init__()
        self.longest, self.lines = longest, lines
        self.table = nn.EmbeddingBag(lines, width, mode="sum")
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        code, lines = tokens_BL, []
        for back in range(1, self.longest):
            before = functional.pad(tokens_BL, (back, 0))[:, : tokens_BL.shape[1]]
            code = (code * 1_000_003 + before * (2 * back + 7919) + back) % 2_147_483_647
            lines.append(code % self.lines)
        lines_NR = torch.stack(lines, -1).flatten(0, 1)
        known_NR = torch.ones_like(lines_NR, dtype=torch.float32)
        if self.training:  # most long runs that a new text holds were never seen: so some are forgotten
            known_NR = (torch.rand_like(known_NR) >= FORGOTTEN).float().cumprod(1)
        return torch.unflatten(self.table(lines_NR, per_sample_weights=known_NR), 0, tokens_BL.shape)


class _Block(nn.Module):
    """Attention, then a gated perceptron, each added to the stream (B, L, D)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        inner = 8 * round(width / 3)  # two thirds of the usual 4 · width: the gate is a third matrix
        self.heads = heads
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attend = nn.ModuleDict(
            {"into": nn.Linear(width, 3 * width, bias=False), "out": nn.Linear(width, width, bias=False)}
        )
        self.think = nn.ModuleDict(
            {"into": nn.Linear(width, 2 * inner, bias=False), "out": nn.Linear(inner, width, bias=False)}
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, places: Tensor, cache: Cache | None = None, room: int = 0) -> Tensor:
        q, k, v = self._heads(x_BLD, places)
        if cache is not None:
            cache.append((functional.pad(k, (0, 0, 0, room)), functional.pad(v, (0, 0, 0, room))))
        return self._add(x_BLD, functional.scaled_dot_product_attention(q, k, v, is_causal=True))

    def extend(self, x_B1D: Tensor, places_B: Tensor, past_steps: tuple[Tensor, Tensor]) -> Tensor:
        q, *new = self._heads(x_B1D, places_B[:, None, None])
        rows = torch.arange(len(places_B), device=places_B.device)
        for old, new_steps in zip(past_steps, new, strict=True):
            old[rows, :, places_B] = new_steps[:, :, 0]
        seen_BL = torch.arange(past_steps[0].shape[2], device=places_B.device) <= places_B[:, None]
        return self._add(
            x_B1D, functional.scaled_dot_product_attention(q, *past_steps, attn_mask=seen_BL[:, None, None])
        )

    def _heads(self, x_BLD: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (B, heads, L, width of a head), the first two rotated by their places."""
        parts = self.attend["into"](self.before(x_BLD)).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        return apply_rotary(q, places), apply_rotary(k, places), v

    def _add(self, x_BLD: Tensor, found_BHLE: Tensor) -> Tensor:
        x_BLD = x_BLD + self.dropout(self.attend["out"](found_BHLE.transpose(1, 2).flatten(2)))
        value, gate = self.think["into"](self.between(x_BLD)).chunk(2, -1)
        return x_BLD.add(self.dropout(self.think["out"](value * functional.silu(gate))))


def apply_rotary(x_BHLE: Tensor, places: Tensor) -> Tensor:
    """Rotate pairs of values by an angle that grows with the place, so that products depend on distance.

    `places` is (L,), or (B, 1, L) where rows stand at different ones.
    """
    half = x_BHLE.shape[-1] // 2
    speed = BASE ** (-torch.arange(half, device=x_BHLE.device) / half)
    angle = places[..., None] * speed  # (…, L, half)
    cos, sin = angle.cos().to(x_BHLE.dtype), angle.sin().to(x_BHLE.dtype)
    a, b = x_BHLE.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
