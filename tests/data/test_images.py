"""Image files of any size, masks, boxes, and the folders they lie in."""

import base64
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.field import TensorField
from evergreen.data.kinds import _images as pixels
from evergreen.data.prepare import suggest
from evergreen.data.prepare.degrade import degrade_images
from evergreen.data.sources.images import ImagesSource


def file(height, width, ending="PNG", value=128):
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(stream, ending)
    return stream.getvalue()


FILES = pa.array([file(12, 20), file(30, 18, "JPEG", 90), file(16, 16, value=7)], pa.binary())


def fitted(**options):
    return kinds.find("image").fit({"photo": FILES}, **options)


def test_files_of_any_size_become_one_size():
    kind, field = kinds.find("image"), fitted()
    assert field.shape == (3, 16, 18)  # the median
    assert kind.encode(field, [FILES]).shape == (3, 3, 16, 18)
    grey = fitted(size=[8, 10], channels=1)
    assert grey.shape == (1, 8, 10)
    assert TensorField.from_json(json.loads(json.dumps(grey.to_json()))) == grey
    assert kind.decode(grey, kind.encode(grey, [FILES]))[2] == [pytest.approx([7] * 10, abs=0.01)] * 8


def test_broken_files_are_faults_of_their_rows():
    rows = [file(9, 9), file(40, 40)[:60], b"", b"hello", None]
    for column in (pa.array(rows, pa.binary()), pa.array([{"bytes": row, "path": "x"} for row in rows])):
        assert kinds.find("image").detect(column) == 1.0
        checked, faults = kinds.find("image").validate(column)
        assert checked.type == pa.binary()
        assert {row: reason.split(" (")[0] for row, reason in faults.items()} == {
            1: "the image is damaged",
            2: "the file is empty",
            3: "it is not a readable image",
        }


def test_requests_send_files_as_text_or_pixels_as_lists():
    kind, field = kinds.find("image"), fitted()
    text = kind.to_json(field, 0, FILES[0])
    assert (
        kind.from_json(field, 0, text) == kind.from_json(field, 0, "data:image/png;base64," + text) == FILES[0].as_py()
    )
    lists = kind.to_arrow(field, [kind.from_json(field, 0, np.full((12, 20, 3), 128).tolist())])
    np.testing.assert_array_equal(kind.encode(field, [lists]), kind.encode(field, [FILES.slice(0, 1)]))
    for wrong in ("hello", base64.b64encode(b"hello").decode(), 5, [[1, 2], [3]], [[300]], [[-1]], []):
        with pytest.raises(DataError):
            kind.from_json(field, 0, wrong)


def test_matrices_are_brought_to_the_size_that_is_said():
    kind, column = kinds.find("image"), pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(128.0).reshape(2, 8, 8))
    field = kind.fit({"x": column}, size=[4, 4], channels=3)
    assert kind.encode(field, [column]).shape == (2, 3, 4, 4)
    assert kind.from_json(field, 0, kind.to_json(field, 0, column[0])).shape == (8, 8)
    with pytest.raises(DataError, match="size is"):
        kind.fit({"x": column}, size="big")


SHORT = {"size": {"shortest_edge": 20}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
OWN = {"input_size": [3, 8, 8], "mean": [0.1] * 3, "std": [1] * 3}


@pytest.mark.parametrize(
    ("config", "beside", "side", "mean"),
    [
        ({"model_type": "vit", "image_size": 24}, None, 24, None),
        ({"model_type": "resnet"}, SHORT, 20, 0.5),
        ({"architecture": "resnet18", "pretrained_cfg": OWN}, None, 8, 0.1),
        ({"model_type": "clip", "vision_config": {"image_size": 32}}, {"image_mean": (0.4,) * 3}, 32, 0.4),
    ],
)
def test_pictures_are_as_a_pretrained_model_wants_them(tmp_path, config, beside, side, mean):
    (tmp_path / "config.json").write_text(json.dumps(config))
    if beside:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(beside))
    field = fitted(source=str(tmp_path))
    assert (field.shape, field.state["config"]) == ((3, side, side), config)
    assert TensorField.from_json(json.loads(json.dumps(field.to_json()))) == field
    if mean:
        assert field.state["mean"] == [pytest.approx(255 * mean)] * 3
    assert fitted(source=str(tmp_path), size=[6, 6]).shape == (3, 6, 6)
    bright = np.stack([np.full((9, 9), one) for one in (0.0, 8.0, 16.0)])  # grey, and 16 is white
    field = kinds.find("image").fit({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(bright)}, source=str(tmp_path))
    assert field.shape == (3, side, side)
    if mean:
        assert field.state["mean"] == [pytest.approx(16 * mean)] * 3


@pytest.mark.parametrize(("content", "says"), [(None, "holds no config.json"), ("{", "is not JSON")])
def test_a_source_that_says_nothing_is_one_clear_error(tmp_path, content, says):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=says):
        fitted(source=str(tmp_path))
    (tmp_path / "config.json").write_text('{"num_channels": 3}')
    with pytest.raises(DataError, match="needs 3 channels"):
        fitted(source=str(tmp_path), channels=1)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        fitted(source=str(tmp_path))


def test_masks_are_classes_of_pixels():
    kind = kinds.find("mask")
    drawn = np.array([[[0, 0, 9], [9, 4, 4]]] * 2)
    for column in (drawn.tolist(), [pixels.encode_png(one) for one in drawn]):
        checked, faults = kind.validate(pa.array(column))
        field = kind.fit({"m": checked}, target=True, ignore=9)
        assert (faults, field.shape, field.sizes) == ({}, (2, 3), (2,))
        assert kind.encode(field, [checked])[0].tolist() == [[0, 0, -100], [-100, 1, 1]]
        assert kind.decode(field, kind.encode(field, [checked])) == drawn.tolist()
    with pytest.raises(DataError, match="5 is not a class"):
        kind.encode(field, [kind.validate(pa.array([pixels.encode_png(drawn[0] + (drawn[0] == 4))]))[0]])


def test_boxes_are_shares_of_the_image():
    kind = kinds.find("boxes")
    rows = [[{"class": "cat", "x0": 2, "y0": 1, "x1": 6, "y1": 3}], [], '[{"class": "cat"}]', "no", None]
    texts = [row if isinstance(row, str) or row is None else json.dumps(row) for row in rows]
    column, faults = kind.validate(pa.array(texts))
    assert faults == {2: "a box lacks its class or a corner", 3: "not JSON"}
    field = kind.fit({"b": column.slice(0, 2)}, target=True, size=[4, 8])
    encoded = kind.encode(field, [column.slice(0, 2)])
    assert encoded.tolist() == [[[0, 0.25, 0.25, 0.75, 0.75], [-1, 0, 0, 0, 0]], [[-1, 0, 0, 0, 0]] * 2]
    assert kind.decode(field, encoded) == [rows[0], []]
    with pytest.raises(DataError, match="is not known"):
        kind.fit({"b": column.slice(0, 2)}, target=True)


def read(folder):
    return pa.Table.from_batches(list(ImagesSource(folder.name, folder.parent).read()))


def test_a_folder_of_classes(tmp_path):
    for name in ("cat/1.png", "cat/2.jpg", "dog/1.png", "dog/._1.png", "dog/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file(6, 5))
    table = read(tmp_path)
    assert table["label"].to_pylist() == ["cat", "cat", "dog"]
    assert table["_origin"].to_pylist() == ["cat/1.png", "cat/2.jpg", "dog/1.png"]
    before = ImagesSource(tmp_path.name, tmp_path.parent).fingerprint()
    (tmp_path / "dog/1.png").rename(tmp_path / "cat/3.png")
    assert ImagesSource(tmp_path.name, tmp_path.parent).fingerprint() != before


def test_a_table_beside_the_images(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(file(6, 5))
    (tmp_path / "labels.csv").write_text("path,breed\na.png,poodle\nb.png,collie\nc.png,collie\n")
    table = read(tmp_path)
    assert set(table.column_names) == {"image", "breed", "_origin", "_fault"}
    assert table["breed"].to_pylist() == ["poodle", "collie", "collie"]
    assert table["_fault"].to_pylist() == [None, None, "there is no file: c.png"]


def test_images_and_their_masks(tmp_path):
    for name in ("images/1.jpg", "images/2.jpg", "masks/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file(6, 5))
    assert [value is None for value in read(tmp_path)["mask"].to_pylist()] == [False, True]


def test_images_are_spoiled_to_be_mended():
    values = np.random.default_rng(0).integers(0, 17, (3, 8, 8)).astype(np.uint8)
    table = pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(values)})
    noisy = degrade_images(table, "image", noise_std=0.25, downscale=1)["noisy"].combine_chunks().to_numpy_ndarray()
    assert 0 < np.abs(noisy - values).mean() < 8
    assert noisy.min() == 0
    assert noisy.max() == 16
    small = degrade_images(table, "image", noise_std=0, downscale=2)["small"].combine_chunks().to_numpy_ndarray()
    assert small.shape == (3, 4, 4)
    files = degrade_images(pa.table({"image": FILES}), "image", noise_std=0, downscale=2)["small"].to_pylist()
    assert [pixels.image_shape(data)[:2] for data in files] == [(6, 10), (15, 9), (8, 8)]
    assert degrade_images(table, "image", noise_std=0, downscale=1) is table
    with pytest.raises(DataError, match="'small' already"):
        degrade_images(degrade_images(table, "image", noise_std=0, downscale=2), "image", noise_std=0, downscale=2)


def test_what_a_target_of_images_asks_for():
    table = pa.table({"image": FILES, "mask": FILES, "clean": FILES})
    assert suggest.suggest_pipeline(table.select(["image", "mask"]), "mask")["task"] == "segmentation"
    assert suggest.suggest_pipeline(table.select(["image", "clean"]), "clean")["task"] == "reconstruction"
