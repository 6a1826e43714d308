"""Share everything but the cell among the recurrent networks."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from evergreen.models.base import ROW_KINDS, SEQUENCE_KINDS, Architecture, Batch, Inputs
from evergreen.models.layers import PADDED_KINDS, SequenceInputs, run_packed


class Recurrent(Architecture):
    """Read all inputs of a row as one sequence by a recurrent cell; padding is packed away, not read.

    The layout "pooled" is the states at both ends of the sequence, "sequence" those of both directions at each step,
    and "causal" those of a cell that reads forward alone. Recurrent matrices start orthogonal (Saxe et al. 2014).
    """

    CELL: ClassVar[type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]]
    ACCEPTS = SEQUENCE_KINDS | ROW_KINDS | {"image"}
    NEEDS_ONE_OF = SEQUENCE_KINDS | {"image"}
    LAYOUTS = ("pooled", "sequence", "causal")
    CAN_TRIM_PADDING = True
    SEARCH_SPACE = {
        "learning_rate": (5e-4, 1e-2, "log"),
        "dropout": (0.0, 0.5),
        "bidirectional": [True, False],
        "size": [0.5, 1.0, 2.0],
    }
    DEFAULTS = {"learning_rate": 5e-3, "clip": 1.0, "ema": 0.98, "keep": "last"}

    def __init__(
        self,
        inputs: Inputs,
        *,
        layout: str = "pooled",
        size: float = 1.0,
        depth: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        width = max(4, round(64 * size))
        both = bidirectional and layout != "causal"
        self.layout = layout
        self.steps = SequenceInputs(inputs, width)
        self.padded = any(field.kind in PADDED_KINDS for field in inputs.values())
        between = dropout if depth > 1 else 0.0
        self.cell = self.CELL(width, width, depth, batch_first=True, bidirectional=both, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.out_features = 2 * width if both else width
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Initialize recurrent matrices orthogonal, gate by gate."""
        for name, matrix in self.cell.named_parameters():
            if name.startswith("weight_hh"):
                for gate in matrix.split(matrix.shape[1]):
                    nn.init.orthogonal_(gate)

    def forward(self, batch: Batch) -> Tensor:
        x_BLD, real_BL = self.steps(batch)
        y_BLF, state = run_packed(self.cell, x_BLD, real_BL) if self.padded else self.cell(x_BLD)
        if self.layout == "pooled":
            ends = state[0] if isinstance(state, tuple) else state  # (depth · directions, B, D)
            features: Tensor = self.dropout(ends[-(self.out_features // ends.shape[2]) :].transpose(0, 1).flatten(1))
        else:
            features = self.dropout(y_BLF[:, : self.steps.first])
        return features
