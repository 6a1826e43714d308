"""Twice the pixels a side: the brightness of five photographs, learned from squares of thirteen others."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageFilter

from benchmarks.reference.protocol import Learned, column, learn
from evergreen.data.sources.skimage import PHOTOS, patches, photo

BARS = {"psnr": (">=", 34.9), "least_gain_over_bicubic": (">=", 0.0)}
SEEDS = range(3)
ARCHITECTURE = "deconvolution"
TEST = ("camera", "chelsea", "coffee", "ihc", "moon")
VALIDATION = ("astronaut", "clock_motion", "rocket")
SQUARES = {0.0: 120, 0.8: 40, 1.5: 40}  # of each photograph: as it is, and softened by so many pixels
# By the three whole photographs of VALIDATION and two smooth ones, left out of the others for that: of squared
# errors a smooth one counts for nothing and came out below its bicubic enlargement, of absolute ones it is above, the
# more where layers have no biases; soft photographs among those learned from help all, for what is soft stays so.
CHOSEN = {"epochs": 7, "task_options": {"loss": "absolute"}}
SEEN = (
    "Test scores of three earlier networks had been seen; what was changed after them was chosen by other photographs. "
    "Four of the five photographs are 1.1 to 1.9 dB above bicubic. The moon, whose photograph is blurred, is 0.4 dB "
    "below: no photograph to validate by shows that, so nothing was chosen against it."
)


def run(seed: int) -> dict[str, float]:
    learned_from = [name for name in PHOTOS if name not in (*TEST, *VALIDATION)]
    tables = tuple(squares(names, seed) for names in (learned_from, VALIDATION, VALIDATION))
    learned = learn(ARCHITECTURE, "reconstruction", tables, "image", seed=seed, **CHOSEN)  # type: ignore[arg-type]
    ours, bicubic, lanczos = [], [], []
    for name in TEST:
        large = whole(photo(name))
        small = Image.fromarray(large).resize((large.shape[1] // 2, large.shape[0] // 2), Image.Resampling.BICUBIC)
        for found, way in ((bicubic, Image.Resampling.BICUBIC), (lanczos, Image.Resampling.LANCZOS)):
            found.append(psnr(np.asarray(small.resize(large.shape[::-1], way)), large))
        ours.append(psnr(enlarged(learned, np.asarray(small)), large))
    return {
        "psnr": float(np.mean(ours)),
        "least_gain_over_bicubic": float(np.min(np.subtract(ours, bicubic))),
        "bicubic_psnr": float(np.mean(bicubic)),
        "lanczos_psnr": float(np.mean(lanczos)),
    }


def whole(image: np.ndarray) -> np.ndarray:
    """Without the last row or column where there is one too many to halve."""
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]


def squares(names: tuple[str, ...] | list[str], seed: int) -> pa.Table:
    """Squares of the photographs, halved before they are cut so that their rims are as within a photograph."""
    random = np.random.default_rng(seed)
    large, small = [], []
    for name, (pixels, count) in itertools.product(names, SQUARES.items()):
        soft = Image.fromarray(whole(photo(name))).filter(ImageFilter.GaussianBlur(pixels))
        half = soft.resize((soft.width // 2, soft.height // 2), Image.Resampling.BICUBIC)
        both = np.stack([np.asarray(soft), np.asarray(half).repeat(2, 0).repeat(2, 1)], 2)
        for square in patches(both, count, random):
            large.append(square[..., 0])
            small.append(square[::2, ::2, 1])
    return pa.table({"small": column(np.stack(small)), "image": column(np.stack(large))})


def enlarged(learned: Learned, small: np.ndarray) -> np.ndarray:
    """A whole photograph (H, W) with twice the pixels a side, as the network makes it."""
    given, wanted = learned.spec.inputs["small"].state, learned.spec.target.state
    x = torch.as_tensor((small.astype(np.float32) - given["mean"][0]) / given["std"][0])[None, None]
    learned.network.eval()
    with torch.inference_mode():
        y = learned.network.task.head(learned.network.architecture({"small": x}))  # type: ignore[operator]
    return (y[0, 0].numpy() * wanted["std"][0] + wanted["mean"][0]).clip(0, 255)


def psnr(said: np.ndarray, true: np.ndarray) -> float:
    """In dB, of values from 0 to 255."""
    return float(10 * np.log10(255**2 / np.mean((said.astype(np.float64) - true) ** 2)))
