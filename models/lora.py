"""Add low-rank adapters: a small layer that learns beside one that is frozen."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class LoRALinear(nn.Linear):
    """Add a trainable low-rank layer to a frozen linear one (Hu et al. 2022); at first it adds nothing."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + functional.linear(functional.linear(x, self.down), self.up)


class LoRAConv2d(nn.Conv2d):
    """Add a convolution to few channels and a 1×1 convolution back to a frozen convolution."""

    def __init__(self, conv: nn.Conv2d, rank: int) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.down = nn.Parameter(torch.empty(rank, conv.in_channels, *conv.kernel_size))
        self.up = nn.Parameter(torch.zeros(conv.out_channels, rank, 1, 1))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        few = functional.conv2d(x, self.down, None, self.stride, self.padding, self.dilation)
        return super().forward(x) + functional.conv2d(few, self.up)


def add_lora(module: nn.Module, rank: int) -> None:
    """Replace every linear layer and every ungrouped convolution in the module by one with an adapter."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LoRALinear(child, rank))
        elif type(child) is nn.Conv2d and child.groups == 1 and child.padding_mode == "zeros":
            setattr(module, name, LoRAConv2d(child, rank))
        else:
            add_lora(child, rank)
