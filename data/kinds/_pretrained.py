"""Read the small files beside a pretrained model's weights, from a folder or Hugging Face's hub."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from evergreen.core.errors import DataError

FIX = "give `source`, a folder with config.json and model.safetensors, or a name on Hugging Face's hub"


class ImagePreprocessing(NamedTuple):
    """Say how a model wants images; None where it does not say."""

    config: dict[str, Any]
    size: list[int] | None  # height and width in pixels
    channels: int
    mean: list[float] | None  # of each channel, where black is 0 and white is 1
    std: list[float] | None


def image_preprocessing(source: str, place: str) -> ImagePreprocessing:
    """Read config.json of an image model, and preprocessor_config.json if there is one.

    Raises DataError where config.json cannot be read, or one of the files is not JSON.
    """
    config = read_json_file(source, "config.json", place, FIX)
    own, half = (config.get(part) or {} for part in ("pretrained_cfg", "vision_config"))  # timm's; of a reader, too
    try:
        text = read_file(source, "preprocessor_config.json", place, FIX)
    except DataError:  # many have none
        text = "{}"
    preprocessor = _parsed(text, "preprocessor_config.json", source, place, FIX)
    sizes = (
        config.get("image_size"),
        half.get("image_size"),
        own.get("input_size"),
        preprocessor.get("crop_size"),
        preprocessor.get("size"),
    )
    size = next((found for one in sizes if (found := _sides(one))), None)
    mean, std = (own.get(name) or preprocessor.get(f"image_{name}") for name in ("mean", "std"))
    channels = int(config.get("num_channels") or half.get("num_channels") or (own.get("input_size") or [3])[0])
    return ImagePreprocessing(config, size, channels, *(list(one) if one else None for one in (mean, std)))


def _sides(size: Any) -> list[int] | None:
    """Return height and width from any way sizes are written: 224, [224, 224], {"height": 224, "width": 224}."""
    if isinstance(size, dict):
        short = size.get("shortest_edge")
        size = [size.get("height", short), size.get("width", short)]
    if isinstance(size, list):
        return [int(side) for side in size[-2:]] if all(size[-2:]) else None
    return [int(size)] * 2 if size else None


def read_json_file(source: str, name: str, place: str, fix: str) -> dict[str, Any]:
    """Read a JSON file of a model."""
    return _parsed(read_file(source, name, place, fix), name, source, place, fix)


def _parsed(text: str, name: str, source: str, place: str, fix: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name} of {source!r} is not JSON ({error})", place=place, fix=fix) from error
    return values if isinstance(values, dict) else {}


def read_file(source: str, name: str, place: str, fix: str) -> str:
    """Return the text of a file of a model's folder, fetched from the hub where there is no such folder."""
    path = Path(source) / name
    if not path.is_file():
        if Path(source).is_dir() or source.startswith((".", "/")):
            raise DataError(f"{source} holds no {name}", place=place, fix=fix)
        try:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(source, name))
        except (ImportError, OSError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise DataError(f"cannot fetch {name} of {source!r} ({why})", place=place, fix=fix) from error
    return path.read_text(encoding="utf-8")
