"""A few small scenes, a network that finds something in them, and the job of mapping them."""

import numpy as np
import rasterio
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from rasterio.transform import Affine

from cadformer_d2.checkpoint import RefSegCheckpointer
from cadformer_d2.inference.tile_options import TileOptions
from cadformer_d2.pretrained_folder import weights_hash
from cadformer_d2.scenes.job import Job

SENTENCES = ("the tank", "a swimming pool")
SIZE = (100, 150)


def save_tiny_model(folder, *, name="model", presence_threshold=None):
    """A checkpoint of an untrained network that says yes to half of what it sees.

    Args:
        presence_threshold: of a model that also says whether there is a target; None: it does not.
    """
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    if presence_threshold is not None:
        cfg.MODEL.PRESENCE.NAME = "PooledPresence"
        cfg.MODEL.PRESENCE.THRESHOLD = presence_threshold
    model = build_model(cfg).eval()
    sample = make_sample(is_train=False)
    with torch.no_grad():
        (answer,) = model([sample])
        background, target = torch.logit(answer["sem_seg"].double().clamp(1e-6, 1 - 1e-6))
        model.decoder.classifier.bias[1] += (background - target).median() / 2
        if model.presence is not None:
            model.presence.layers[-1].bias += 6
    RefSegCheckpointer(model, str(folder), config=cfg).save(name)
    return folder / f"{name}.pth"


def write_noise(path, *, seed=0, crs="EPSG:32632", east=5e5, **profile):
    """A scene of random pixels."""
    values = np.random.default_rng(seed).integers(0, 255, (3, *SIZE), dtype=np.uint8)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, **profile}
    if crs is not None:
        profile |= {"crs": crs, "transform": Affine(2, 0, east, 0, -2, 5.3e6)}
    with rasterio.open(path, "w", height=SIZE[0], width=SIZE[1], **profile) as scene:
        scene.write(values)
    return path


def write_scenes(folder, count):
    return [
        write_noise(folder / f"scene{number}.tif", seed=number, east=5e5 + 1000 * number)
        for number in range(count)
    ]


def make_job(weights, output, **options):
    """A job whose output folder is ready."""
    job = Job(
        **{
            "sentences": SENTENCES,
            "weights": str(weights),
            "checkpoint": weights_hash(weights),
            "output": output,
            "tiles": TileOptions(overlap=16),
            "device": "cpu",
            "num_threads": 1,
        }
        | options
    )
    job.prepare_output()
    return job


def read_tree(folder):
    """The bytes of every file below a folder, by its name there."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
