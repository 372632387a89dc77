"""Configs are data: no file, base or KEY VALUE pair runs code or ends in a traceback."""

import pytest

from cadformer_d2 import config_file, plain_yaml
from cadformer_d2.config_file import read_config_file
from cadformer_d2.engine.setup import load_config

CODE = "OUTPUT_DIR: !!python/object/apply:os.system ['touch executed']"
LISTS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SECTIONS = "MODEL: &a {DEVICE: cpu}\n" + "".join(
    f"{name}: &{name} {{x: *{below}, y: *{below}}}\n"
    for below, name in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
)
HOSTILE = {
    "call": (CODE, r"line 1: .*tag '!!python/object/apply:os\.system'"),
    "object": (
        "SEED: !!python/object/new:os.system ['touch executed']",
        "tag '!!python/object/new",
    ),
    "name": ("OUTPUT_DIR: !!python/name:os.system", r"tag '!!python/name:os\.system'"),
    "module": ("OUTPUT_DIR: !!python/module:this", "tag '!!python/module:this'"),
    "aliases": (LISTS, "more than 10000 values"),
    "aliases of sections": (SECTIONS, "more than 10000 values"),
    "holds itself": ("MODEL: &m {TEXT_ENCODER: *m}", "it contains itself"),
    "deep": ("- " * 2000, "nested too deeply"),
    "cut": ("MODEL: {DEVICE: [", "line 1: expected the node content"),
    "no YAML": ("a: \0", "is not YAML"),
    "two documents": ("SEED: 1\n---\nSEED: 2", "another document"),
    "twice": ("SEED: 1\nSEED: 2", "line 2: the key 'SEED' appears twice"),
    "date": ("OUTPUT_DIR: 2001-99-99", "is not YAML: month"),
    "no bool": ("OUTPUT_DIR: !!bool what", "is not YAML: 'what'"),
    "list": ("- SEED", "holds a list, expected KEY: VALUE"),
    "text": ("SEED", "holds a str, expected KEY: VALUE"),
    "section that is none": ("MODEL:", "MODEL is a section, not a value"),
    "section that is text": ("MODEL: '{}'", "MODEL is a section, not a value"),
    "value that is none": ("SEED:", "SEED has no value"),
    "value that is a section": ("SEED: {x: 1}", r"Non-existent key: SEED\.x"),
    "misspelt": ("MODEL: {DECODR: {NAME: x}}", r"MODEL\.DECODR\.NAME; known there: .*DECODER"),
    "base from the network": ("_BASE_: http://127.0.0.1:9/a.yaml", "local files only"),
    "base by a handler": ("_BASE_: detectron2://a.yaml", "local files only"),
    "endless base": ("_BASE_: /dev/zero", "/dev/zero is missing or not a file"),
    "base of itself": ("_BASE_: config.yaml", r"config\.yaml includes itself through _BASE_"),
    "base that is no path": ("_BASE_: {a: 1}", "expected a path or a list of paths"),
    "hostile base": ("_BASE_: [base.yaml]", r"base\.yaml, line 1: .*tag '!!python"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_config_that_is_no_plain_data_is_one_line_and_runs_nothing(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, message = HOSTILE[case]
    (tmp_path / "base.yaml").write_text(CODE)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_config("config.yaml")
    assert "config.yaml" in str(caught.value) or "base.yaml" in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_config_is_read_no_further_than_it_can_sensibly_be_long(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_yaml, "MAX_BYTES", 10)
    (tmp_path / "config.yaml").write_text("# a comment of more than ten bytes")
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        load_config(str(tmp_path / "config.yaml"))


@pytest.mark.parametrize("copies", [1, 3])
def test_bases_of_bases_have_an_end(copies, tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, "MAX_FILES", 5)
    for depth in range(6):
        base = ", ".join([f"{depth + 1}.yaml"] * copies)
        (tmp_path / f"{depth}.yaml").write_text(f"_BASE_: [{base}]" if depth < 5 else "SEED: 1")
    assert read_config_file(str(tmp_path / "5.yaml")) == {"SEED": 1}
    with pytest.raises(ValueError, match=r"0\.yaml includes more than 5 files"):
        read_config_file(str(tmp_path / "0.yaml"))


def test_a_config_is_put_over_its_bases_in_their_order(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.yaml").write_text("SEED: 1\nSOLVER: {BASE_LR: 0.1, POLY_POWER: 0.5}")
    (tmp_path / "b.yaml").write_text("_BASE_: below/a.yaml\nSOLVER: {BASE_LR: 0.2}")
    (tmp_path / "c.yaml").write_text("INPUT: {SIZE: '(64, 32)'}\nSOLVER: {BASE_LR: 0.3}")
    (tmp_path / "d.yaml").write_text(f"_BASE_: [b.yaml, {tmp_path / 'c.yaml'}]\nSEED: 7")
    cfg = load_config(str(tmp_path / "d.yaml"))
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.POLY_POWER) == (7, 0.3, 0.5)
    assert cfg.INPUT.SIZE == (64, 32)


PAIRS = {
    "MODEL cpu": "MODEL is a section",
    "MODEL.DEVICE.c x": r"Non-existent key: MODEL\.DEVICE\.c",
    "SEED": "SEED has no value; expected KEY VALUE pairs",
    "SEED None": "SEED has no value",
    "_BASE_ a.yaml": "Non-existent key: _BASE_",
    "INPUT.SIZE __import__('os').system('touch')": "Type mismatch",
    f"SOLVER.BASE_LR {'-' * 50000}1": "SOLVER.BASE_LR is nested too deeply",
    f"SOLVER.BASE_LR {'x' * 9000}": r"^.{0,300}$",
    "INPUT.SIZE (0,64)": r"INPUT\.SIZE\.0 is 0: .* greater than or equal to 1",
    "SOLVER.BASE_LR nan": "Type mismatch",
    "MODEL.SWIN.DEPTHS (2,2)": r"MODEL\.SWIN\.DEPTHS",
    "MODEL.SWIN.NUM_HEADS (3,8,16,32)": "MODEL.SWIN, stage 1: 128 channels .* by 3 heads",
    "MODEL.TEXT_ENCODER.NUM_HEADS 5": "TEXT_ENCODER: 768 channels .* by 5 heads",
    "MODEL.PIXEL_STD [0.0,1.0,1.0]": r"MODEL\.PIXEL_STD\.0 is 0\.0",
    "DATASETS.TRAIN (1,)": r"DATASETS\.TRAIN\.0 is 1: .* valid string",
    "TEST.EXPECTED_RESULTS [['mIoU',60]]": r"TEST\.EXPECTED_RESULTS\.0",
    "TEST.EVAL_RESOLUTION inptu": r"TEST\.EVAL_RESOLUTION is 'inptu': .*'input' or 'native'",
}


@pytest.mark.parametrize("pairs", PAIRS)
def test_key_value_pairs_that_cannot_be_are_one_line(pairs):
    with pytest.raises(ValueError, match=PAIRS[pairs]):
        load_config("", pairs.split())


def test_a_key_of_before_is_passed_over_in_files_pairs_and_checkpoints(tmp_path, caplog):
    (tmp_path / "old.yaml").write_text("INPUT:\n  TOKEN_ROLES: True\n  MAX_TOKENS: 9\n")
    cfg = load_config(str(tmp_path / "old.yaml"), ["INPUT.TOKEN_ROLES", "False"])
    assert cfg.INPUT.MAX_TOKENS == 9 and "TOKEN_ROLES" not in cfg.INPUT
    assert "Deprecated config key (ignoring): INPUT.TOKEN_ROLES" in caplog.text
