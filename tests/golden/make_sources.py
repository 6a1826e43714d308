"""Writes the rows of the golden pipelines into `sources/`: `python -m tests.golden.make_sources`.

The files are committed, since other versions of NumPy, Pillow or Arrow may write other bytes.
"""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from PIL import Image

FOLDER = Path(__file__).parent / "sources"
START = datetime.date(2024, 1, 1)
DAY = datetime.timedelta(days=1)
TOPICS = {
    "food": ("the soup was {} and warm", "our cook made {} bread", "we ate {} fish"),
    "travel": ("the train was {} again", "a {} road to the sea", "our hotel was {}"),
    "music": ("the song was {} tonight", "a {} voice and a drum", "they played {} chords"),
}
WORDS = ("good", "slow", "late", "bright", "cold", "lovely", "strange", "old")
NAMES, VERBS, PLACES = ("Ada", "Bo", "Cleo", "Dan"), ("met", "saw", "called"), ("Rome", "Oslo", "Quito")
UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def houses(random: np.random.Generator) -> str:
    """Prices of houses, with values that are missing, rows that break a rule and lines that cannot be read."""
    lines = ["area,rooms,district,garden,heating,built,sold,price"]
    for row in range(240):
        area, rooms = float(random.integers(40, 200)), int(random.integers(1, 7))
        district, garden = str(random.choice(["north", "south", "harbour"])), bool(random.integers(2))
        built = START - int(random.integers(800, 9000)) * DAY
        sold = built + int(random.integers(300, 700)) * DAY if row % 40 else built - DAY
        price = 1200 * area + 9000 * rooms + 20000 * (district == "harbour") + 5000 * garden + random.normal(0, 8000)
        heating = "" if row % 9 == 0 else str(random.choice(["gas", "oil", "heat pump"]))
        shown = "unknown" if row % 60 == 7 else "" if row % 11 == 3 else f"{area:g}"
        values = [shown, rooms, district, "yes" if garden else "no", heating, built, sold, f"{price:.0f}"]
        lines.append(",".join(map(str, values)) + (",stray" if row == 100 else ""))
    return "\n".join(lines) + "\n"


def visits(random: np.random.Generator) -> pa.Table:
    """Daily visits of three shops, of which one was closed for some days."""
    rows: list[dict[str, Any]] = []
    for shop, level in (("east", 40.0), ("west", 70.0), ("centre", 120.0)):
        for day in range(70):
            if shop == "west" and 20 <= day < 23:
                continue
            warm = 12 + 8 * np.sin(day / 9) + random.normal()
            count = round(level + 2 * warm + 12 * (day % 7 >= 5) + random.normal(0, 3))
            rows.append({"day": START + day * DAY, "shop": shop, "warmth": round(warm, 2), "visits": count})
    return pa.Table.from_pylist(rows)


def reviews(random: np.random.Generator) -> list[dict[str, Any]]:
    """Sentences of three topics."""
    found = []
    for row in range(150):
        topic = list(TOPICS)[row % 3]
        said = [str(random.choice(TOPICS[topic])).format(random.choice(WORDS)) for _ in range(random.integers(1, 4))]
        found.append({"text": ", ".join(said), "meta": {"stars": int(random.integers(1, 6))}, "topic": topic})
    return found


def sentences(random: np.random.Generator) -> list[dict[str, Any]]:
    """Lists of words, and a tag for each."""
    found = []
    for _ in range(120):
        words = [random.choice(NAMES), random.choice(VERBS), random.choice(NAMES), "in", random.choice(PLACES)]
        tags, some = ["person", "verb", "person", "other", "place"], int(random.integers(3, 6))
        found.append({"words": list(map(str, words[:some])), "tags": tags[:some]})
    return found


def baskets(random: np.random.Generator) -> list[dict[str, Any]]:
    """What was bought together, and what was bought next."""
    goods = ["tea", "milk", "bread", "butter", "jam", "rice", "beans", "salt"]
    found = []
    for row in range(120):
        first = int(random.integers(len(goods)))
        held = [goods[(first + step) % len(goods)] for step in range(random.integers(1, 4))]
        found.append({"basket": row, "held": held, "next": goods[(first + 4) % len(goods)]})
    return found


def numbers() -> str:
    """Numbers in digits and in words."""
    lines = [f"{value},{' '.join(UNITS[int(digit)] for digit in str(value))}" for value in range(100, 1000, 6)]
    return "\n".join(["digits,words", *lines]) + "\n"


def fable(random: np.random.Generator) -> str:
    """A text that repeats itself."""
    said = [
        f"{random.choice(NAMES)} {random.choice(VERBS)} {random.choice(NAMES)} in {random.choice(PLACES)}, and it was "
        f"{random.choice(WORDS)}."
        for _ in range(260)
    ]
    return " ".join(said) + "\n"


def network(random: np.random.Generator, folder: Path) -> None:
    """Two clubs, whose members mostly know each other."""
    clubs = ["rowing" if node % 2 else "chess" for node in range(60)]
    nodes = [f"n{node},{random.normal(node % 2, 1):.3f},{random.normal():.3f},{clubs[node]}" for node in range(60)]
    pairs = {
        (int(a), int(b)) for a, b in random.integers(0, 60, (320, 2)) if a < b and (clubs[a] == clubs[b] or a % 7 == 0)
    }
    folder.mkdir(exist_ok=True)
    (folder / "nodes.csv").write_text("\n".join(["id,height,weight,club", *nodes]) + "\n")
    (folder / "edges.csv").write_text("\n".join(["one,other", *(f"n{a},n{b}" for a, b in sorted(pairs))]) + "\n")


def shapes(random: np.random.Generator) -> pa.Table:
    """PNG files of a bright square or a dark bar on noise, the class of each pixel, and the box around the thing."""
    rows = []
    for row in range(60):
        image, mask = random.integers(90, 160, (16, 16)).astype(np.uint8), np.zeros((16, 16), np.uint8)
        (top, left), (height, width) = random.integers(1, 8, 2).tolist(), ((5, 5) if row % 2 else (3, 7))
        place = (slice(top, top + height), slice(left, left + width))
        image[place], mask[place] = (230, 1) if row % 2 else (20, 2)
        box = {"class": "square" if row % 2 else "bar", "x0": left, "y0": top, "x1": left + width, "y1": top + height}
        rows.append({"image": _png(image), "mask": _png(mask), "boxes": json.dumps([box])})
    return pa.Table.from_pylist(rows)


def _png(values: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(values).save(held, "PNG")
    return held.getvalue()


def parts(random: np.random.Generator) -> pa.Table:
    """Measurements of good parts and of some scratched ones."""
    state = np.where(np.arange(200) % 8 == 0, "scratched", "good")
    hidden = random.normal(size=(200, 2)) @ random.normal(size=(2, 5))
    values = np.round(
        hidden + random.normal(0, 0.1, (200, 5)) + 2.0 * random.normal(size=(200, 5)) * (state == "scratched")[:, None],
        4,
    )
    return pa.table({**{f"m{place}": values[:, place] for place in range(5)}, "state": state})


def main() -> None:
    """Writes every file anew."""
    draw = np.random.default_rng
    texts = {"houses.csv": houses(draw(1)), "numbers.tsv": numbers().replace(",", "\t"), "fable.txt": fable(draw(2))}
    said = sentences(draw(4))
    lines = {
        "reviews.jsonl": reviews(draw(3)),
        "sentences/one.jsonl": said[:70],
        "sentences/two.jsonl": said[70:],
        "baskets.ndjson": baskets(draw(5)),
    }
    texts |= {name: "".join(json.dumps(row) + "\n" for row in rows) for name, rows in lines.items()}
    (FOLDER / "sentences").mkdir(exist_ok=True)
    for name, text in texts.items():
        (FOLDER / name).write_text(text)
    pq.write_table(visits(draw(6)), FOLDER / "visits.parquet")
    pq.write_table(shapes(draw(7)), FOLDER / "shapes.parquet")
    feather.write_feather(parts(draw(8)), str(FOLDER / "parts.feather"), compression="lz4")
    network(draw(9), FOLDER / "network")


if __name__ == "__main__":
    main()
