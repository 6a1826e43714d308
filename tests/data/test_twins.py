"""Rows on both sides of a split are found though they were changed a little; rows that merely look alike are not."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data as photographs
from sklearn.datasets import load_diabetes, load_digits

from evergreen.data.kinds.duplicates import minhash
from evergreen.data.kinds.series import to_fixed_lists
from evergreen.data.quality.duplicates import find_near_duplicates

SIDE, COPIES = 64, 12
PHOTO = photographs.astronaut()
PLACES = [(y, x) for y in range(0, 448, SIDE) for x in range(0, 448, SIDE)]
SQUARES = np.stack([PHOTO[y : y + SIDE, x : x + SIDE] for y, x in PLACES])


def pictures(values) -> pa.Table:
    return pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))})


def files(values, *, quality=95, side=SIDE) -> pa.Table:
    made = []
    for one in values:
        stream = io.BytesIO()
        Image.fromarray(one).resize((side, side)).save(stream, "JPEG", quality=quality)
        made.append(stream.getvalue())
    return pa.table({"image": pa.array(made, pa.binary())})


CHANGED = {
    "as they are": lambda x: files(x),
    "encoded worse": lambda x: files(x, quality=40),
    "smaller": lambda x: files(x, side=48),
    "brighter": lambda x: files((x * 0.8 + 40).astype(np.uint8)),
    "shifted": lambda x: files(np.roll(x, (1, 1), (1, 2))),
}


@pytest.mark.parametrize("change", CHANGED)
def test_changed_copies_of_pictures_are_found_and_nothing_else(change):
    mine, theirs = SQUARES[::2], SQUARES[1::2]
    train = np.concatenate([theirs, mine[:COPIES]])
    found = find_near_duplicates(CHANGED[change](mine), files(train), {"image": "image"})
    assert all(twin.match == len(theirs) + twin.row for twin in found)
    assert len(found) >= COPIES - 1  # a square of bare background may be lost


def test_digits_that_look_alike_are_no_twins_and_copies_of_them_are():
    images = load_digits().images
    mine, theirs = images[::3], images[1::3]
    assert find_near_duplicates(pictures(mine), pictures(theirs), {"image": "image"}) == []
    brighter = np.concatenate([theirs, mine[:COPIES] * 2 + 1])
    found = find_near_duplicates(pictures(mine), pictures(brighter), {"image": "image"})
    assert [twin.row for twin in found] == list(range(COPIES))


def test_texts_with_a_word_changed_are_found_and_texts_of_one_trade_are_not():
    random = np.random.default_rng(0)
    words = np.array([f"{a}{b}" for a in "bcdfghklmnp" for b in ("alt", "ern", "ist", "oup", "und")])
    texts = [" ".join(random.choice(words, 60)) for _ in range(40)]
    head = "This message and its attachments are meant for the addressee alone. "
    changed = [text.upper().replace(" ", ",  ", 3) + " indeed" for text in texts[:5]]
    train = pa.table({"text": [head + text for text in texts[20:] + changed]})
    found = find_near_duplicates(pa.table({"text": [head + text for text in texts[:20]]}), train, {"text": "text"})
    assert [(twin.row, twin.match) for twin in found] == [(row, 20 + row) for row in range(5)]
    assert (
        find_near_duplicates(pa.table({"text": ["yes", "no"]}), pa.table({"text": ["yes", "yes"]}), {"text": "text"})
        is None
    )


def test_short_texts_tell_rows_apart_beside_what_else_there_is():
    random = np.random.default_rng(0)
    kinds = {**dict.fromkeys("vwxyz", "number"), "says": "text", "is": "category"}

    def table(x, says):
        return pa.table({**dict(zip("vwxyz", x.T, strict=True)), "says": says, "is": [f"{len(one)}" for one in says]})

    x, says = random.normal(size=(400, 5)), [f"note {number % 40}" for number in range(400)]
    mine, theirs = table(x[:100], says[:100]), table(x[100:], says[100:])
    assert find_near_duplicates(mine, theirs, kinds) == []
    copies = pa.concat_tables([theirs, table(x[:7] + 1e-4, says[:7]), table(x[7:9], ["other", "words"])])
    assert [(twin.row, twin.match) for twin in find_near_duplicates(mine, copies, kinds)] == [
        (row, 300 + row) for row in range(7)
    ]


def test_a_long_text_is_no_twin_where_a_short_one_beside_it_differs():
    text = ["the same long story is told of everyone who comes by and asks " + word for word in ("once", "twice")]
    mine = pa.table({"story": text, "asked": ["who", "why"]})
    theirs = pa.table({"story": text, "asked": ["who", "when"]})
    found = find_near_duplicates(mine, theirs, {"story": "text", "asked": "text"})
    assert [(twin.row, twin.match) for twin in found] == [(0, 0)]


def test_a_sketch_shares_what_the_texts_share():
    one, other = (
        minhash.shingles("the cat sat on the mat all day"),
        minhash.shingles("the cat sat on the rug all day"),
    )
    assert 0 < minhash.jaccard(one, other) < 1
    assert minhash.jaccard(one, one) == 1


def test_rows_of_a_table_are_the_same_within_rounding_where_chance_does_not_make_them_so():
    x = load_diabetes(scaled=False).data
    kinds = {str(i): "number" for i in range(x.shape[1])}

    def table(rows):
        return pa.table({name: pa.array(rows[:, int(name)]) for name in kinds})

    assert find_near_duplicates(table(x[:200]), table(x[200:]), kinds) == []
    found = find_near_duplicates(table(x[:200]), table(np.concatenate([x[200:], x[:9] * 1.0001])), kinds)
    assert [(twin.row, twin.match) for twin in found] == [(row, len(x) - 200 + row) for row in range(9)]
    few = {"sex": "category", "smokes": "category"}
    people = pa.table({"sex": ["m", "f"] * 50, "smokes": ["y", "n", "n", "y"] * 25})
    assert find_near_duplicates(people, people, few) is None  # such people are many: nothing can be said


def test_recordings_and_stretches_of_a_series():
    random = np.random.default_rng(0)
    sounds = [random.normal(size=4000) * random.random(8).repeat(500) for _ in range(20)]

    def heard(rows):
        return pa.table({"a": pa.array([{"samples": row, "rate": 4000} for row in rows])})

    louder = [*sounds[10:], *(0.5 * sound + random.normal(size=4000) * 0.01 for sound in sounds[:4])]
    found = find_near_duplicates(heard(sounds[:10]), heard(louder), {"a": "audio"})
    assert [(twin.row, twin.match) for twin in found] == [(row, 10 + row) for row in range(4)]
    walks = random.normal(size=(40, 30)).cumsum(axis=1)
    train = pa.table({"h": to_fixed_lists(np.concatenate([walks[20:], walks[:3] + 0.001]))})
    found = find_near_duplicates(pa.table({"h": to_fixed_lists(walks[:20])}), train, {"h": "series"})
    assert [(twin.row, twin.match) for twin in found] == [(row, 20 + row) for row in range(3)]
