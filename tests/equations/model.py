"""Where the components meet: text and image to probabilities at each image's own size."""

from __future__ import annotations

import torch

from .alignment import ALIGNMENTS
from .decoder import DECODERS
from .encoders import encoded, patch_embedding, patch_merging, sine_cosine, swin_stage
from .neck import NECKS
from .notation import Weights, as_map, layer_norm, resized, softmax


def backbone(w, cfg, image, text):
    """V_i = Swin_i(X_{i-1}); X_i = Merge(V_i + D_i); pyramid LN_i(F_i) or LN_i(gate(F_i) * F_i)."""
    swin, align = cfg.MODEL.SWIN, ALIGNMENTS[cfg.MODEL.ALIGNMENT.NAME]
    X, size = patch_embedding(w / "patch_embed", image)
    if cfg.MODEL.POSITION.NAME == "sincos":
        X = X + sine_cosine(w / "position", size, cfg.MODEL.POSITION.NUM_WAVES)
    pyramid = {}
    for i in range(4):
        V = swin_stage(
            w / f"stages.{i}",
            X,
            size,
            depth=swin.DEPTHS[i],
            window=swin.WINDOW_SIZE,
            heads=swin.NUM_HEADS[i],
        )
        heads = cfg.MODEL.ALIGNMENT.NUM_HEADS[i]
        F, gated, update, L = align(w / f"alignments.{i}", V, text, size, heads, X)
        text = type(text)(L, text.is_token, text.object_words, text.position_words)
        read = gated if cfg.MODEL.ALIGNMENT.DECODER_FEATURE == "gated" else F
        pyramid[f"stage{i + 1}"] = as_map(layer_norm(w / f"norms.{i}", read), size)
        if i < 3:
            X, size = patch_merging(w / f"merges.{i}", V + update, size)
    return pyramid, text


def logits_at_input(model, cfg, images, fields):
    """(B, 2, H, W) of images (B, 3, H, W) in [0, 255] and the padded fields of the sentences."""
    logits, *_ = decoded(model, cfg, images, fields)
    rows, columns = (4 * side for side in logits.shape[-2:])
    height, width = images.shape[-2:]
    return resized(logits, (rows, columns), align_corners=True)[..., :height, :width]


def decoded(model, cfg, images, fields):
    """The decoder's logits, with what it read: the pyramid and the text."""
    w = Weights(model.state_dict())
    mean, std = (
        torch.tensor(values, dtype=torch.float64)[:, None, None]
        for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    )
    text = encoded(w / "text_encoder", *fields, heads=cfg.MODEL.TEXT_ENCODER.NUM_HEADS)
    pyramid, text = backbone(w / "backbone", cfg, (images - mean) / std, text)
    if cfg.MODEL.NECK.NAME:
        grid = tuple(-(-side // 32) for side in cfg.INPUT.SIZE)
        neck = NECKS[cfg.MODEL.NECK.NAME]
        pyramid = neck(w / "neck", pyramid, text, cfg.MODEL.NECK.NUM_BLOCKS, grid)
    decode = DECODERS[cfg.MODEL.DECODER.NAME]
    return decode(w / "decoder", pyramid, text, cfg.MODEL.DECODER.NUM_HEADS), pyramid, text


def probabilities(logits, sizes):
    """Softmax over background and target, then bilinear to each image's own size."""
    return [
        resized(p, size, align_corners=False)
        for p, size in zip(softmax(logits, axis=1), sizes, strict=True)
    ]


def loss(logits, target, *, ce_weight, dice_weight, class_weights, dice_sums):
    """baselines 1.6: weighted cross-entropy and Dice, each with its weight.

    Dice is summed over the classes that have a pixel.
    """
    background, foreground = softmax(logits, axis=1).unbind(1)
    p_true = torch.where(target, foreground, background)
    w = torch.where(target, class_weights[1], class_weights[0])
    cross_entropy = (w * -p_true.log()).sum() / w.sum()
    per_sample = []
    for t, pb, pf in zip(target.double(), background, foreground, strict=True):
        terms = [
            1 - (2 * (p * y).sum() + 1e-6) / (p.sum() + y.sum() + 1e-6)
            for p, y in ((pb, 1 - t), (pf, t))
            if y.sum() > 0
        ]
        per_sample.append(sum(terms))
    dice = sum(per_sample) if dice_sums else sum(per_sample) / len(per_sample)
    return {"loss_ce": ce_weight * cross_entropy, "loss_dice": dice_weight * dice}
