"""Any Transformer of Hugging Face's library, with the weights that it was trained to elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import BESIDE, Architecture, Batch, Choice, Inputs, ModelError
from models.layers import Flat

WAYS = ("frozen", "adapters", "partly", "whole")


class Pretrained(Architecture):
    """A pretrained Transformer (Devlin et al. 2019 and its successors) and what of it learns on.

    What a language model has learned from much text serves where there is little: its weights stay (`train: frozen`),
    or its last `layers` move (partly), or low-rank adapters do beside all its matrices (adapters: Hu et al. 2022), or
    everything does (whole). The weights come from the `source` that the kind tokens names, as safetensors, before the
    first step. The features are the mean of the last states of the real tokens. Image models, timm's among them, are
    not taken: it reads tokens alone.

    In: tokens (B, L), and beside them number, category, labels. Out: (B, F), F = the model's width and that of the
    other inputs; positions (B, L, F).
    Choose it for text with some hundreds of rows, where a pretrained model of the language is at hand. `size` is
    ignored: the model has its own.
    At size=1: not measured, since no pretrained weights are shipped; the machinery is tested on a tiny random model.
    """

    ACCEPTS = BESIDE | {"tokens"}
    NEEDS = frozenset({"tokens"})
    FORMS = ("row", "positions")
    REQUIRES = "transformers"
    SPACE: ClassVar[dict[str, Choice]] = {"learning_rate": (1e-5, 1e-2, "log"), "train": [*WAYS]}
    RECIPE: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "epochs": 10, "clip": 1.0, "warmup_share": 0.1}

    def __init__(
        self,
        inputs: Inputs,
        *,
        form: str = "row",
        size: float = 1.0,
        train: str = "adapters",
        layers: int = 2,
        rank: int = 8,
    ) -> None:
        super().__init__()
        if train not in WAYS:
            raise ModelError(f"train is {train!r}", place="pretrained", fix=f"choose {', '.join(WAYS)}")
        tokens = [name for name, field in inputs.items() if field.kind == "tokens"]
        if len(tokens) != 1:
            fix = "give one column the kind tokens, ignore the others"
            raise ModelError(f"there are {len(tokens)} columns of tokens", place="pretrained", fix=fix)
        (self.name,), self.form = tokens, form
        self.source = str(inputs[self.name].state["source"])
        self.body, width = _body(inputs[self.name].state["config"], self.source)
        rest = {name: field for name, field in inputs.items() if name != self.name}
        self.rest = Flat(rest) if rest else None
        self.features = width + (self.rest.width if self.rest else 0)
        if train != "whole":
            self.body.requires_grad_(False)
        if train == "partly":
            _blocks(self.body)[-layers:].requires_grad_(True)
        if train == "adapters":
            adapt(_blocks(self.body), rank)

    def forward(self, batch: Batch) -> Tensor:
        real_BL = batch[self.name] > 0
        ids_BL = (batch[self.name] - 1).clamp_min(0)
        x_BLD: Tensor = self.body(input_ids=ids_BL, attention_mask=real_BL.long()).last_hidden_state
        if self.form == "row":
            count_B1 = real_BL.sum(1, keepdim=True).clamp_min(1)
            x_BLD = ((x_BLD * real_BL[..., None]).sum(1) / count_B1)[:, None]
        if self.rest:
            x_BLD = torch.cat([x_BLD, self.rest(batch)[:, None].expand(-1, x_BLD.shape[1], -1)], 2)
        return x_BLD[:, 0] if self.form == "row" else x_BLD

    def warm_start(self, batches: Iterable[Batch]) -> None:
        """Takes the pretrained weights. Raises ModelError where they are not to be had as safetensors."""
        import transformers

        try:
            found = transformers.AutoModel.from_pretrained(self.source, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError) as error:
            fix = "give a folder with config.json and model.safetensors, or a name on the hub"
            raise ModelError(str(error).splitlines()[0], place=f"pretrained {self.source}", fix=fix) from error
        weights = _encoder(found).state_dict()
        lacking, _ = self.body.load_state_dict(weights, strict=False)
        if lacking := [name for name in lacking if not name.endswith((".down", ".up"))]:
            problem = f"its weights lack {lacking[0]}"
            raise ModelError(problem, place=f"pretrained {self.source}", fix="give the whole model")


class Adapted(nn.Linear):
    """A linear layer that stays and a low-rank one beside it that learns (Hu et al. 2022); at first it adds nothing."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + functional.linear(functional.linear(x, self.down), self.up)


def adapt(module: nn.Module, rank: int) -> None:
    """Puts an adapter beside every linear layer within."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, Adapted(child, rank))
        else:
            adapt(child, rank)


def _body(config: dict[str, Any], source: str) -> tuple[nn.Module, int]:
    """The model of a configuration, with random weights, and its width; nothing is read from a disk."""
    import transformers

    kind = config.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        timm = f"it is timm's {config['architecture']}" if "architecture" in config else ""
        problem = timm or f"the library transformers has no model {kind!r}"
        fix = "give a Transformer that reads text; for images choose resnet, vit or efficientnet, without a source"
        raise ModelError(problem, place=f"pretrained {source}", fix=fix)
    settings = transformers.AutoConfig.for_model(**config)
    model = _encoder(transformers.AutoModel.from_config(settings).float())
    return model, int(settings.hidden_size)


def _encoder(model: Any) -> nn.Module:
    """What reads: the encoder of a model that has a decoder too, without the pooler that no feature comes from."""
    body: Any = model.get_encoder() if model.config.is_encoder_decoder else model
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    read: nn.Module = body
    return read


def _blocks(body: nn.Module) -> nn.ModuleList:
    """The model's layers: its longest list."""
    return max((one for one in body.modules() if isinstance(one, nn.ModuleList)), key=len)
