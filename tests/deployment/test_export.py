"""An exported file gives the model's own probabilities, for any batch and any length."""

import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model

pytest.importorskip("onnxscript", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")
import onnx  # noqa: E402

from cadformer_d2.checkpoint import RefSegCheckpointer  # noqa: E402
from cadformer_d2.commands.export import parse_arguments  # noqa: E402
from cadformer_d2.deployment import export  # noqa: E402
from cadformer_d2.deployment.deepness import deepness_metadata  # noqa: E402
from cadformer_d2.deployment.export import (  # noqa: E402
    ExportOptions,
    export_model,
    refuse_impossible_export,
)
from cadformer_d2.deployment.network_graph import (  # noqa: E402
    NetworkGraph,
    example_inputs,
    record_graph,
)
from cadformer_d2.deployment.onnx_precision import change_precision  # noqa: E402
from cadformer_d2.inference import OnnxPredictor, RefSegPredictor  # noqa: E402
from cadformer_d2.inference.load_predictor import load_predictor  # noqa: E402
from cadformer_d2.layers.convolution import convolve_columns  # noqa: E402

THIS_MACHINE = str(Path(__file__).parents[2]).encode()
EXPRESSIONS = ["the pool", "the tennis court on the left of the large swimming pool", "tank"]


def archived(path):
    """Contents of the files in an archive."""
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    cfg = make_tiny_cfg()
    cfg.INPUT.SIZE = (32, 32)
    cfg.MODEL.SWIN.DEPTHS = (1, 1, 1, 1)
    cfg.MODEL.PRESENCE.NAME, cfg.MODEL.PRESENCE.THRESHOLD = "PooledPresence", 0.01
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    folder = tmp_path_factory.mktemp("trained")
    RefSegCheckpointer(model, str(folder), config=cfg).save("model")
    return RefSegPredictor.from_checkpoint(folder / "model.pth", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def one_recording():
    """The graph is the same in every format, and recording it takes most of an export's time."""
    recorded = []

    def record_once(*arguments, **options):
        recorded[:] = recorded or [record_graph(*arguments, **options)]
        return recorded[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "record_graph", record_once)
        yield


@pytest.fixture(scope="module")
def exported(predictor, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    options = ExportOptions(licence="apache-2.0")
    assert export_model(predictor, path, checkpoint="0" * 16, options=options) < 1e-5
    return path


def test_a_file_answers_as_its_checkpoint(predictor, exported):
    onnx_predictor = OnnxPredictor(exported, device="cpu", batch_size=3)
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    for asked in (EXPRESSIONS, EXPRESSIONS[:1]):
        answers = zip(predictor(image, asked), onnx_predictor(image, asked), strict=True)
        for wanted, found in answers:
            np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)
            np.testing.assert_array_equal(found.mask, wanted.mask)
            assert found.presence == pytest.approx(wanted.presence, abs=1e-5)
    about = onnx_predictor.description
    assert about.licence == "apache-2.0" and about.checkpoint == "0" * 16
    assert THIS_MACHINE not in exported.read_bytes()
    assert about.says_presence and onnx_predictor.object_names == predictor.object_names


def test_the_documentations_lines_ask_a_program_of_torch_export(predictor, tmp_path, monkeypatch):
    path = tmp_path / "model.pt2"
    assert export_model(predictor, path, checkpoint="0" * 16, options=ExportOptions()) < 1e-5
    assert not any(THIS_MACHINE in content for content in archived(path))
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    (lines,) = [block for block in blocks if "torch.export.load" in block]
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.jpg"), noise)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(lines.replace("the leftmost airplane", EXPRESSIONS[1]), found)
    wanted = predictor("photo.jpg", EXPRESSIONS[1])
    np.testing.assert_allclose(found["probabilities"][0, 1], wanted.probability, atol=1e-5)
    np.testing.assert_array_equal(found["mask"], wanted.mask)
    with pytest.raises(ValueError, match="is for torch.export.load"):
        load_predictor(path)


def test_half_of_the_bytes_and_whole_numbers_give_near_answers(predictor, exported, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    wanted = predictor(image, EXPRESSIONS[1]).probability
    for precision, farthest in (("half", 5e-3), ("int8", 0.1)):
        path = tmp_path / f"{precision}.onnx"
        onnx.save(change_precision(onnx.load(exported), precision), path)
        assert path.stat().st_size < 0.8 * exported.stat().st_size
        found = OnnxPredictor(path, device="cpu")(image, EXPRESSIONS[1]).probability
        assert 0 < np.abs(found - wanted).max() < farthest


def test_a_graph_with_its_expression_inside_takes_rgb_from_0_to_1(predictor):
    fields = predictor.prepare_expression(EXPRESSIONS[1])
    fixed = NetworkGraph(
        predictor.model,
        expression=tuple(fields[name][None] for name in predictor.model.text_encoder.reads),
        pixel_range=1,
        swaps_channels=True,
    )
    (image,) = example_inputs(fixed, (32, 32), batch=2, num_tokens=1)
    assert image.max() <= 1
    whole = NetworkGraph(predictor.model)
    repeated = [fields[name].expand(2, -1) for name in predictor.model.text_encoder.reads]
    with torch.no_grad():
        (found,), (wanted, _) = fixed(image), whole(255 * image.flip(1), *repeated)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_convolution_as_one_product_is_a_convolution():
    x, kernels = torch.randn(3, 4, 5, 7).double(), torch.randn(3, 6, 4, 3, 3).double()
    wanted = [
        torch.nn.functional.conv2d(image[None], kernel, padding=1)
        for image, kernel in zip(x, kernels, strict=True)
    ]
    torch.testing.assert_close(convolve_columns(x, kernels), torch.cat(wanted))


def test_deepness_finds_what_it_reads(exported):
    about = OnnxPredictor(exported).description
    about = about.model_copy(update={"class_names": ("background", "the pool")})
    metadata = deepness_metadata(about, metres=0.25)
    assert {key: json.loads(value) for key, value in metadata.items()} == {
        "model_type": "Segmentor",
        "class_names": {"0": "background", "1": "the pool"},
        "tile_size": 32,
        "tiles_size": 32,
        "tiles_overlap": 25,
        "seg_thresh": 0.5,
        "seg_small_segment": 0,
        "resolution": 25,
    }
    with pytest.raises(ValueError, match="square"):
        deepness_metadata(about.model_copy(update={"input_size": (32, 48)}), metres=None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("model.pb", {}, "ends in .onnx or .pt2"),
        ("model.pt2", {"precision": "int8"}, "--int8 is of .onnx"),
        ("model.pt2", {"expression": "x"}, "--expression is of .onnx"),
        ("model.onnx", {"metres": 0.5}, "--resolution is for the Deepness plugin"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        refuse_impossible_export(tmp_path / name, ExportOptions(**options))


@pytest.mark.parametrize(
    "arguments",
    [["out", "--int8"], ["out.onnx", "--notes", "a.md"], ["a.onnx", "--half", "--int8"]],
)
def test_options_of_the_other_kind_of_output_are_refused(monkeypatch, arguments, capsys):
    monkeypatch.setattr("sys.argv", ["export", "model.pth", *arguments])
    with pytest.raises(SystemExit):
        parse_arguments()
    assert capsys.readouterr().err
