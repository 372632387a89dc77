"""A model small enough for a test, and samples for it."""

from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import command_process  # noqa: F401  (what a fork server has imported)
import pytest
import torch
import torch.multiprocessing
from detectron2.config import get_cfg
from detectron2.engine import default_argument_parser
from review_files import images, source  # noqa: F401  (fixtures)
from small_disk import small_disk  # noqa: F401  (a fixture)

import cadformer_d2  # noqa: F401  (registers the components)
from cadformer_d2.config import add_cadformer_config
from cadformer_d2.engine.processes import run_in_processes

VOCABULARY_SIZE = 320
DRAWING = ("uniform_", "normal_")


def make_tiny_cfg():
    """A CADFormer with every component of the full one, sized for a test on a CPU."""
    cfg = get_cfg()
    add_cadformer_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.SIZE = (64, 64)
    cfg.INPUT.TOKENIZER = "synthrs"
    text = cfg.MODEL.TEXT_ENCODER
    text.WEIGHTS, text.VOCAB_SIZE, text.NUM_LAYERS = "", VOCABULARY_SIZE, 1
    text.HIDDEN_SIZE, text.NUM_HEADS, text.FFN_DIM = 32, 2, 64
    swin = cfg.MODEL.SWIN
    swin.EMBED_DIM, swin.DEPTHS, swin.NUM_HEADS, swin.WINDOW_SIZE = (
        16,
        (1, 1, 2, 1),
        (1, 2, 4, 8),
        4,
    )
    decoder = cfg.MODEL.DECODER
    decoder.HIDDEN_DIM, decoder.NUM_HEADS, decoder.FFN_DIM = 24, 2, 48
    return cfg


@pytest.fixture
def tiny_cfg():
    return make_tiny_cfg()


@contextmanager
def zeros_for_random_weights():
    """Models start at zero within the context: at full size, drawing takes seconds."""
    zeros = {name: lambda tensor, *args, **options: tensor.zero_() for name in DRAWING}
    with patch.multiple(torch.Tensor, **zeros):
        yield


def make_sample(*, seed=0, size=(64, 64), num_tokens=7, native_size=None, is_train=True):
    """A ModelInput of random pixels and words."""
    generator = torch.Generator().manual_seed(seed)
    height, width = native_size or size
    sample = {
        "image": torch.rand(3, *size, generator=generator) * 255,
        "input_ids": torch.randint(5, VOCABULARY_SIZE, (num_tokens,), generator=generator),
        "attention_mask": torch.ones(num_tokens, dtype=torch.int64),
        "is_object": torch.arange(num_tokens) < num_tokens // 2,
        "is_position": torch.arange(num_tokens) > 0,
        "expression": "the thing",
        "height": height,
        "width": width,
        "file_name": f"{seed}.jpg",
        "image_id": seed,
        "ref_id": seed,
        "sent_id": seed,
        "category_id": 0,
    }
    if is_train:
        sample["gt_mask"] = torch.rand(size, generator=generator) > 0.8
    return sample


def run_in_two_processes(main, *args, start_method="forkserver"):
    """Call ``main(*args)`` in both processes of a run; "spawn" starts them as a user's run does."""
    started = partial(torch.multiprocessing.start_processes, start_method=start_method)
    arguments = default_argument_parser().parse_args(["--num-gpus", "2", "--dist-url", "auto"])
    with patch("torch.multiprocessing.start_processes", started):
        run_in_processes(main, arguments, args=args)
