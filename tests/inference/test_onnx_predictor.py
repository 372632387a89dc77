"""An exported file answers as a checkpoint does, from its own metadata alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra export is not installed")
import exported_files  # noqa: E402
from exported_files import SIDE, write_bright_model  # noqa: E402

from cadformer_d2.exported_model import METADATA_KEY  # noqa: E402
from cadformer_d2.inference import OnnxPredictor  # noqa: E402
from cadformer_d2.inference.load_predictor import DTYPE_NAMES, load_predictor, model_hash  # noqa: E402
from cadformer_d2.precision import DTYPES  # noqa: E402

EVEN, ODD = "the pool", "the pool left"  # 4 and 5 tokens with [CLS] and [SEP]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_bright_model(tmp_path_factory.mktemp("exported") / "bright.onnx")


@pytest.fixture(scope="module")
def predictor(model):
    return OnnxPredictor(model, device="cpu")


def half_red(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 255
    return image


def test_each_expression_has_its_own_answer(predictor):
    even, odd = predictor(half_red(SIDE, SIDE), [EVEN, ODD])
    left = np.arange(SIDE) < SIDE // 2
    assert (even.mask == left).all() and (odd.mask == ~left).all()
    assert even.expression == EVEN and even.score == 1


def test_masks_have_the_images_own_size(predictor):
    found = predictor(half_red(90, 50), EVEN)
    assert found.mask.shape == found.probability.shape == (90, 50)
    assert (found.mask == (np.arange(50) < 25)).all()
    assert found.probability.dtype == np.float32


def test_batches_do_not_change_answers(model):
    images = [half_red(20 + size, 30) for size in range(5)]
    alone, together = (
        OnnxPredictor(model, device="cpu", batch_size=size).predict_images(images, ODD)
        for size in (1, 4)
    )
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)


def test_the_channel_order_is_the_files(tmp_path):
    description = exported_files.describe(channel_order="BGR")
    blue = OnnxPredictor(
        write_bright_model(tmp_path / "bgr.onnx", description=description), device="cpu"
    )
    image = np.ascontiguousarray(half_red(SIDE, SIDE)[..., ::-1])
    assert blue(image, EVEN).mask[:, : SIDE // 2].all()
    assert blue(image[..., ::-1], EVEN, channel_order="BGR").mask[:, : SIDE // 2].all()


def test_a_fixed_expression_is_the_only_one(tmp_path):
    description = exported_files.describe(expression=EVEN)
    fixed = OnnxPredictor(write_bright_model(tmp_path / "a.onnx", description=description))
    assert fixed(half_red(SIDE, SIDE), EVEN).mask.any()
    with pytest.raises(ValueError, match="answers 'the pool' only"):
        fixed(half_red(SIDE, SIDE), ODD)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "carries no cadformer_d2"),
        ({METADATA_KEY: "{"}, "describes no model"),
        ({METADATA_KEY: json.dumps({"format": 2})}, "format"),
    ],
)
def test_a_foreign_file_is_refused_by_name(tmp_path, metadata, message):
    path = write_bright_model(tmp_path / "foreign.onnx", metadata=metadata)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{message}"):
        OnnxPredictor(path)


def test_a_damaged_and_a_missing_file_are_refused(tmp_path, model):
    damaged = tmp_path / "cut.onnx"
    damaged.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut.onnx is not a usable ONNX file"):
        OnnxPredictor(damaged)
    with pytest.raises(FileNotFoundError, match="gone.onnx is missing"):
        OnnxPredictor(tmp_path / "gone.onnx")


def test_the_files_kind_is_found_by_its_ending(model):
    assert isinstance(load_predictor(model, batch_size=3), OnnxPredictor)
    with pytest.raises(ValueError, match="own precision"):
        load_predictor(model, dtype="bfloat16")
    assert re.fullmatch("[0-9a-f]{16}", model_hash(model))


def test_the_documentations_lines_open_a_file_with_onnxruntime_alone(model, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    (lines,) = [block for block in blocks if "get_modelmeta" in block]
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    cv2.imwrite(str(tmp_path / "photo.jpg"), half_red(SIDE, SIDE)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(lines.replace("the leftmost airplane", EVEN), found)
    assert (found["mask"] == (np.arange(SIDE) < SIDE // 2)).all()


def test_dtypes_are_named_alike_with_and_without_pytorch():
    assert list(DTYPES) == list(DTYPE_NAMES)


WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "detectron2", "transformers", "torchvision", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return found(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
sys.argv[:1] = ["cadformer"]
from cadformer_d2.commands.main import main
main()
"""


def run_without_torch(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_an_image_is_answered_without_pytorch(model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), half_red(40, 60)[..., ::-1])
    asked = ("predict", tmp_path / "a.png", EVEN, "--weights", model, "--output", tmp_path)
    done = run_without_torch(*asked)
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(tmp_path / "a_mask.png"), cv2.IMREAD_GRAYSCALE)
    assert (mask[:, :30] == 255).all() and (mask[:, 30:] == 0).all()


def test_without_pytorch_a_checkpoint_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "model.pth").touch()
    done = run_without_torch(
        "predict", tmp_path / "model.pth", "x", "--weights", tmp_path / "model.pth"
    )
    assert done.returncode == 1
    assert "needs torch and detectron2" in done.stderr and "cadformer export" in done.stderr


def test_a_scene_is_segmented_without_pytorch(model, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    scene = tmp_path / "scene.tif"
    transform = rasterio.transform.from_origin(500_000, 5_800_000, 0.5, 0.5)
    with rasterio.open(
        scene, "w", driver="GTiff", width=80, height=50, count=3, dtype="uint8", crs="EPSG:32633",
        transform=transform,
    ) as file:  # fmt: skip
        file.write(half_red(50, 80).transpose(2, 0, 1))
    vector = tmp_path / "found.geojson"
    done = run_without_torch(
        "segment-raster", scene, EVEN, "--vector", vector, "--weights", model, "--tile", 50
    )
    assert done.returncode == 0, done.stderr
    features = json.loads(vector.read_text())["features"]
    assert len(features) == 1
    assert features[0]["properties"]["checkpoint"] == model_hash(model)
