"""The simple recurrent network."""

from torch import nn

from evergreen.models.architectures._recurrent import Recurrent


class RNN(Recurrent):
    """Simple recurrent network (Elman 1990) that reads both ways (Schuster and Paliwal 1997).

    A state is carried from step to step, each a tanh of the last state and of what is read. What was read many steps
    ago fades, and its gradient with it (Bengio et al. 1994), so it learns nothing that needs a long memory.

    In: series (B, T, C), image (B, C, H, W) row by row, text (B, L), audio (B, T, M); number, category and labels go
    with every step. Out: (B, F), F = 128 · size; sequence (B, L, F); causal (B, L, F), F = 64 · size.
    Choose it for short sequences where few weights count; else an LSTM or a GRU is better.
    At size=1: digits 0.969 (one split) in 13 s of one core.
    """

    CELL = nn.RNN
