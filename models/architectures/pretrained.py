"""Any model of Hugging Face's library that reads text or images, with pretrained weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from evergreen.core.errors import ModelError
from evergreen.models.base import ROW_KINDS, Architecture, Batch, Inputs
from evergreen.models.layers import FlattenInputs
from evergreen.models.lora import add_lora

WAYS = ("frozen", "adapters", "partly", "whole")
READ = frozenset({"tokens", "image"})  # kinds that a model reads
HERE = Path(__file__).resolve().parents[2]  # a worker may stand elsewhere
TIMM = "timm_wrapper"  # what transformers calls a model of timm's


class Pretrained(Architecture):
    """A network that was trained elsewhere (Devlin et al. 2019; Dosovitskiy et al. 2021) and what of it learns on.

    What a model has learned from much text or many pictures serves where there is little: its weights stay (`train:
    frozen`), or its last `layers` move (partly), or low-rank adapters do beside all its matrices (adapters: Hu et al.
    2022), or everything does (whole). The weights come from the `source` that the column's kind names, as safetensors,
    before the first step: any model of Hugging Face's library, or of timm where that is installed. The features are the
    mean of the last states, over the real tokens or over all places of an image.

    In: tokens (B, L), or image (B, C, H, W) with a source; beside it number, category, labels. Out: (B, F), F = the
    model's width and that of the other inputs; of tokens also sequence (B, L, F).
    Choose it for text or pictures with some hundreds of rows, where a model pretrained on such is at hand. `size` is
    ignored: the model has its own.
    At size=1: not measured, since no pretrained weights are shipped; the machinery is tested on tiny random models.
    """

    ACCEPTS = ROW_KINDS | READ
    NEEDS_ONE_OF = READ
    LAYOUTS = ("pooled", "sequence")
    FIRST_FOR = frozenset({"image"})
    EXTRA = "transformers"
    SEARCH_SPACE = {"learning_rate": (1e-5, 1e-2, "log"), "train": [*WAYS]}
    DEFAULTS = {"learning_rate": 1e-3, "epochs": 10, "clip": 1.0, "warmup_share": 0.1}

    def __init__(
        self,
        inputs: Inputs,
        *,
        layout: str = "pooled",
        size: float = 1.0,
        train: str = "adapters",
        layers: int = 2,
        rank: int = 8,
    ) -> None:
        super().__init__()
        if train not in WAYS:
            fix = f"use {', '.join(WAYS)}"
            raise ModelError(f"{train!r} is not a valid value of train", place="pretrained", fix=fix)
        if not self.supports(inputs):
            fix = "give one column `kind: tokens` or `kind: image` with a `source`, ignore others of these kinds"
            raise ModelError("no single column names its source", place="pretrained", fix=fix)
        self.name = next(name for name, field in inputs.items() if field.kind in READ)
        own, self.layout, self.moves = inputs[self.name], layout, train
        self.pictures, self.source = own.kind == "image", str(own.state["source"])
        self.settings = _settings(own.state["config"], self.source)
        self.body = _body(self.settings, self.source, self.pictures)
        rest = {name: field for name, field in inputs.items() if name != self.name}
        self.rest = FlattenInputs(rest) if rest else None
        self.out_features = self._width(own.shape) + (self.rest.width if self.rest else 0)
        if train != "whole":
            self.body.requires_grad_(False)
        if train == "partly":
            for layer in _layers(self.body)[-layers:]:
                layer.requires_grad_(True)
        if train == "adapters":
            add_lora(self.body, rank)

    @classmethod
    def supports(cls, inputs: Inputs) -> bool:
        """Tell whether exactly one column is one that a model reads, and names its source."""
        read = [field for field in inputs.values() if field.kind in READ]
        return len(read) == 1 and "config" in read[0].state

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen layers keep their running means."""
        super().train(mode)
        if self.moves != "whole":
            for module in self.body.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        x_BLD = self._pool_image(batch[self.name]) if self.pictures else self._read(batch[self.name])
        if self.rest:
            x_BLD = torch.cat([x_BLD, self.rest(batch)[:, None].expand(-1, x_BLD.shape[1], -1)], 2)
        return x_BLD[:, 0] if self.layout == "pooled" else x_BLD

    def _read(self, tokens_BL: Tensor) -> Tensor:
        """Return states of tokens (B, L, D), or of a row as a whole (B, 1, D)."""
        real_BL, ids_BL = tokens_BL > 0, (tokens_BL - 1).clamp_min(0)
        x_BLD: Tensor = self.body(input_ids=ids_BL, attention_mask=real_BL.long()).last_hidden_state
        if self.layout != "pooled":
            return x_BLD
        count_B1 = real_BL.sum(1, keepdim=True).clamp_min(1)
        return ((x_BLD * real_BL[..., None]).sum(1) / count_B1)[:, None]

    def _pool_image(self, image_BCHW: Tensor) -> Tensor:
        """Return (B, 1, D) of images, from a Transformer's states (B, L, D) or convolutions' (B, D, H', W')."""
        x = self.body(pixel_values=image_BCHW).last_hidden_state
        mean_BD: Tensor = x.mean((2, 3)) if x.ndim == 4 else x.mean(1)
        return mean_BD[:, None]

    def _width(self, shape: tuple[int, ...]) -> int:
        if not self.pictures:
            return int(self.body.config.hidden_size)  # type: ignore[union-attr,arg-type]
        try:
            with torch.no_grad():
                self.body.eval()
                width = self._pool_image(torch.zeros(1, *shape)).shape[2]
                self.body.train()
                return width
        except (TypeError, ValueError, RuntimeError) as error:
            problem = f"the model does not accept images of shape {shape} ({str(error).splitlines()[0]})"
            fix = "leave `size` and `channels` out: the source says them; or choose a model that reads images"
            raise ModelError(problem, place=f"pretrained {self.source}", fix=fix) from error

    def init_from_data(self, batches: Iterable[Batch]) -> None:
        """Load the pretrained weights. Raises ModelError where there are none as safetensors."""
        import transformers

        transformers.utils.logging.set_verbosity_error()  # what it does not need of the folder is no news
        transformers.utils.logging.disable_progress_bar()
        try:
            how = {"config": self.settings, "use_safetensors": True, "dtype": torch.float32}
            own = next((place for place in (Path(self.source), HERE / self.source) if place.is_dir()), self.source)
            model = transformers.AutoModel.from_pretrained(own, **how)
        except (OSError, ValueError) as error:
            fix = "give a folder with config.json and model.safetensors, or a name on the hub"
            raise ModelError(str(error).splitlines()[0], place=f"pretrained {self.source}", fix=fix) from error
        weights = _reader(model, self.pictures).state_dict()
        missing, _ = self.body.load_state_dict(weights, strict=False)
        if missing := [name for name in missing if not name.endswith((".down", ".up"))]:
            problem = f"its weights lack {missing[0]}"
            raise ModelError(problem, place=f"pretrained {self.source}", fix="give the whole model")


def _settings(config: dict[str, Any], source: str) -> Any:
    """Return the library's form of a configuration; timm's has `architecture` instead of `model_type`."""
    import transformers

    known_settings = {name: one for name, one in config.items() if name != "model_type"}
    kind = str(config.get("model_type", TIMM if "architecture" in config else ""))
    if kind == TIMM:
        given = known_settings.get("model_args") or {}
        known_settings = {
            "architecture": known_settings.get("architecture"),
            "model_args": {name: one for name, one in given.items() if name != "num_classes"},
        }
    if kind not in transformers.CONFIG_MAPPING:
        fix = "give a model that reads text or images"
        raise ModelError(f"the library transformers has no model {kind!r}", place=f"pretrained {source}", fix=fix)
    return transformers.AutoConfig.for_model(kind, **known_settings)


def _body(settings: Any, source: str, pictures: bool) -> nn.Module:
    """Build the model of a configuration with random weights; nothing is read from disk."""
    import transformers

    try:
        return _reader(transformers.AutoModel.from_config(settings).float(), pictures)
    except ImportError as error:
        fix = f"pip install timm, and torchvision for torch {torch.__version__}; or give a model of transformers' own"
        problem = f"it is timm's {getattr(settings, 'architecture', 'model')}, and timm is not installed"
        raise ModelError(problem, place=f"pretrained {source}", fix=fix) from error


def _reader(model: Any, pictures: bool) -> nn.Module:
    """Return the part that reads: the encoder, or the half of a two-tower model that is asked for.

    Weights of a pooler are dropped, since no feature comes from it.
    """
    half = getattr(model, "vision_model" if pictures else "text_model", model)
    body: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else half
    pooler = getattr(body, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        body.register_module("pooler", None)
    return body


def _layers(body: nn.Module) -> list[nn.Module]:
    """Return the model's layers from its input on: members of its lists, and its other parts with matrices."""
    while len(parts := list(body.children())) == 1:  # a model within a model, a list within an encoder
        (body,) = parts
    layers = [layer for one in parts for layer in (_listed(one) or [one])]
    return [one for one in layers if any(weight.ndim > 1 for weight in one.parameters())]


def _listed(part: nn.Module) -> list[nn.Module]:
    """Return the layers of a part that is a list of them, or holds nothing else."""
    parts = list(part.children())
    if isinstance(part, nn.ModuleList | nn.Sequential):
        return parts
    return _listed(parts[0]) if len(parts) == 1 else []
