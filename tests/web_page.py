"""Serves the web page of a small untrained network, for tests to ask."""

from contextlib import contextmanager

import cv2
import numpy as np
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model

from cadformer_d2.inference import RefSegPredictor

HEIGHT, WIDTH = 60, 90


def load_app():
    """The module of the page; imported where it is used, since it needs the extra."""
    from cadformer_d2.web import app

    return app


def write_image(path):
    pixels = np.random.default_rng(0).integers(256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


@contextmanager
def served_page(folder):
    """The address of a page with one example."""
    cfg = make_tiny_cfg()
    torch.manual_seed(0)
    predictor = RefSegPredictor(cfg=cfg, model=build_model(cfg))
    example = write_image(folder / "example.png")
    with torch.no_grad():  # so that masks are neither empty nor full
        median = float(np.median(predictor(example, "the pool").probability))
        predictor.model.decoder.classifier.bias[1] -= np.log(median / (1 - median))
    examples = [(str(example), "the pool of the example")]
    app = load_app()
    page = app.build_page(predictor, examples, folder)
    yield app.serve(page, prevent_thread_lock=True, quiet=True)
    page.close()
