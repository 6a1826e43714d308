"""Pictures made of what scikit-image ships, without a download: `skimage:segmentation`, detection, superres.

segmentation, detection: scikit-learn's digits, enlarged, in light ink on the textures brick, grass and gravel, 32 × 32
grey pixels; one large digit to segment, two small ones to detect. `mask` is 1 where there is ink, else 0; `boxes` are
those of the digits, in pixels. `x` is where the ground lies in its texture: split
by it, at VALIDATE_FROM and TEST_FROM, no two parts share a piece of a texture, nor the image of a digit.
superres: squares of 32 × 32 grey pixels of photographs; `photo` is the name of theirs.
"""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources

SIDE, SCENES = 32, 1500
LIGHT, DIM = (200, 256), 0.8  # brightness of the digits' ink; of the ground, as a share of the texture's
TEXTURES = ("brick", "grass", "gravel")  # 512 × 512 each
VALIDATE_FROM, TEST_FROM, END = 192, 256, 512  # of x: the left edge of what lies on the right of the cut
PHOTOS = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text"),
)
PATCHES = 60  # of each photograph
Scene = tuple[np.ndarray, np.ndarray, list[dict[str, object]]]  # image, mask, boxes


class SkimageSource(sources.Source):
    REQUIRES: ClassVar[dict[str, str]] = {"skimage": "demo"}

    def read(self) -> Iterator[pa.RecordBatch]:
        makers = {"segmentation": _segmentation, "detection": _detection, "superres": _superres}
        if self.name not in makers:
            problem = f"there are no pictures called '{self.name}'"
            raise DataError(problem, place=f"skimage:{self.name}", fix=suggest(self.name, makers))
        yield from sources.with_origin(makers[self.name](), f"skimage:{self.name}").combine_chunks().to_batches()

    def fingerprint(self) -> str:
        return f"scikit-image {version('scikit-image')} scikit-learn {version('scikit-learn')} {self.name} 2"


def photo(name: str) -> np.ndarray:
    """Return (H, W) uint8 brightness of an image in scikit-image's own folder."""
    import skimage.data
    from PIL import Image

    files = sorted(Path(folder) / f"{name}{end}" for folder in skimage.data.__path__ for end in (".png", ".jpg"))
    path = next(path for path in files if path.exists())
    return np.asarray(Image.open(path).convert("RGB").convert("L"))


def scenes(count: int, *, many: int = 1, seed: int = 0) -> Iterator[tuple[int, Scene]]:
    """Yield `count` images of `many` digits with their x, a quarter right of TEST_FROM, a fifth between the cuts.

    In a mask 0 is the ground, 1 to 10 are the digits 0 to 9.
    """
    from sklearn.datasets import load_digits

    digits, random = load_digits(), np.random.default_rng(seed)
    grounds = [photo(name) for name in TEXTURES]
    cuts = ((0, VALIDATE_FROM, 0.55), (VALIDATE_FROM, TEST_FROM, 0.2), (TEST_FROM, END, 0.25))
    shares = np.cumsum([share for *_, share in cuts])
    for _ in range(count):
        part = int(np.searchsorted(shares, random.random()))
        low, high, _ = cuts[part]
        own = np.flatnonzero(_part_of(len(digits.images)) == part)
        x, y = random.integers(low, high - SIDE + 1), random.integers(0, END - SIDE + 1)
        ground = grounds[random.integers(len(grounds))][y : y + SIDE, x : x + SIDE] * DIM
        chosen = random.choice(own, many, replace=False)
        yield int(x), _scene(ground, digits.images[chosen] / 16, digits.target[chosen], random)


def _part_of(count: int) -> np.ndarray:
    """Return the part of each digit's own image: every fifth validates, every fourth of the rest tests."""
    number = np.arange(count)
    return np.where(number % 5 == 0, 1, np.where(number % 4 == 0, 2, 0))


def _scene(ground: np.ndarray, images: np.ndarray, kinds: np.ndarray, random: np.random.Generator) -> Scene:
    """Draw the digits one above the other, each at least three quarters of its share of the height."""
    from PIL import Image

    image, mask, boxes = ground.copy(), np.zeros((SIDE, SIDE), np.uint8), []
    height = SIDE // len(images)
    for number, (digit, kind) in enumerate(zip(images, kinds, strict=True)):
        side = int(random.integers(height * 3 // 4, height + 1))
        large = Image.fromarray((digit * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        ink = np.asarray(large) >= 128  # opaque: each pixel shows either ink or ground, as its mask says
        top = number * height + int(random.integers(0, height - side + 1))
        left = int(random.integers(0, SIDE - side + 1))
        here = slice(top, top + side), slice(left, left + side)
        image[here] = np.where(ink, random.integers(*LIGHT), image[here])
        mask[here] = np.where(ink, kind + 1, mask[here])
        rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
        corners = {"x0": left + columns[0], "y0": top + rows[0], "x1": left + columns[-1] + 1, "y1": top + rows[-1] + 1}
        boxes.append({"class": str(kind), **{name: float(value) for name, value in corners.items()}})
    return image.round().clip(0, 255).astype(np.uint8), mask, boxes


def _segmentation() -> pa.Table:
    scenes_made = list(scenes(SCENES))
    return pa.table(
        {
            "image": _tensor([image for _, (image, _, _) in scenes_made]),
            "mask": _tensor([(mask > 0).astype(np.uint8) for _, (_, mask, _) in scenes_made]),
            "x": [x for x, _ in scenes_made],
        }
    )


def _detection() -> pa.Table:
    scenes_made = list(scenes(SCENES, many=2))
    images = _tensor([image for _, (image, _, _) in scenes_made])
    return pa.table(
        {"image": images, "boxes": [boxes for _, (_, _, boxes) in scenes_made], "x": [x for x, _ in scenes_made]}
    )


def _superres() -> pa.Table:
    random = np.random.default_rng(0)
    squares, names = [], []
    for name in PHOTOS:
        squares += patches(photo(name), PATCHES, random)
        names += [name] * PATCHES
    return pa.table({"image": _tensor(squares), "photo": names})


def patches(image: np.ndarray, count: int, random: np.random.Generator, side: int = SIDE) -> list[np.ndarray]:
    """Return squares of (H, W, …) that do not overlap, among those with the most contrast."""
    rows, columns = (length // side for length in image.shape[:2])
    grid = image[: rows * side, : columns * side].reshape(rows, side, columns, side, *image.shape[2:])
    cut = grid.swapaxes(1, 2).reshape(-1, side, side, *image.shape[2:])
    spread = cut.reshape(len(cut), -1).std(axis=1) + random.uniform(0, 10, len(cut))
    return list(cut[np.sort(np.argsort(-spread, kind="stable")[:count])])


def _tensor(rows: list[np.ndarray]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(rows))
