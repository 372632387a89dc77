"""CADFormer: the skeleton that joins the named components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..structures import ModelInput, TextFeatures
from .activation_recomputation import recompute_activations
from .backbone import build_backbone, with_weights_record
from .backbone.weights import FittedWeights
from .compilation import compile_repeated
from .decoder import build_decoder
from .loss import build_loss
from .neck import build_neck
from .presence import Presence, build_presence
from .text_encoder import build_text_encoder, text_output_shape

TOKENS_STEP = 8  # multiple of padded lengths on a GPU
COMPILED_TOKENS_STEP = 32  # and in compiled models


@META_ARCH_REGISTRY.register()
class CADFormer(nn.Module):
    """text encoder + [backbone <-> alignment] -> neck -> decoder (-> presence) -> losses | masks.

    LAVT, LGCE, RMSIN, FIANet and the ablations are other choices of these components.
    """

    text_encoder: Any  # a module with ``reads``
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        text_encoder: nn.Module,
        backbone: Backbone,
        neck: nn.Module | None,
        decoder: nn.Module,
        criterion: nn.Module,
        pixel_mean: list[float],
        pixel_std: list[float],
        presence: Presence | None = None,
        presence_threshold: float = 0.5,
        padded_length: int | None = None,
        recomputed: tuple[str, ...] = (),
    ):
        """
        Args:
            text_encoder: called with the samples' fields that its ``reads`` names, padded.
            backbone: (image, text) -> (pyramid, text).
            neck: (pyramid, text) -> pyramid, or None.
            decoder: (pyramid, text) -> logits at the stride of the backbone's first stage, or at a
                fraction of it that divides it.
            criterion: (logits, target) -> dict of losses.
            pixel_mean, pixel_std: per channel, of pixels in [0, 255].
            presence: (pyramid, text, logits) -> logits (B,) of "there is a target", or None.
            presence_threshold: probability, in [0, 1], below which an answer is blank.
            padded_length: number of tokens to which to pad expressions; None: ``round_up_tokens``
                of the batch's longest.
            recomputed: components that recompute their activations in the backward pass.

        Raises:
            ValueError: a component to recompute does not exist or has nothing to recompute.
        """
        super().__init__()
        self.text_encoder = text_encoder
        self.backbone = backbone
        self.neck = neck
        self.decoder = decoder
        self.criterion = criterion
        self.presence = presence
        self.presence_threshold = presence_threshold
        self.padded_length = padded_length
        self.stride = next(iter(backbone.output_shape().values())).stride  # of h_1 and w_1
        self.is_compiled = False
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        recompute_activations(self.recomputed_modules(), recomputed)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        cfg = with_weights_record(cfg)
        text_shape = text_output_shape(cfg)
        backbone = build_backbone(cfg, text_shape)
        return {
            "text_encoder": build_text_encoder(cfg),
            "backbone": backbone,
            "neck": build_neck(cfg, backbone.output_shape(), text_shape),
            "decoder": build_decoder(cfg, backbone.output_shape(), text_shape),
            "criterion": build_loss(cfg),
            "presence": build_presence(cfg, backbone.output_shape(), text_shape),
            "presence_threshold": cfg.MODEL.PRESENCE.THRESHOLD,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "padded_length": cfg.INPUT.MAX_TOKENS if cfg.INPUT.PAD_TO_MAX_TOKENS else None,
            "recomputed": cfg.MODEL.CHECKPOINT_ACTIVATIONS,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def compile(self, **options: Any) -> None:
        """Compile the repeated blocks, as ``compile_repeated``; takes torch.compile's options."""
        compile_repeated(self, **options)
        self.is_compiled = True

    @property
    def tokens_step(self) -> int:
        """What T is a multiple of.

        On a GPU, cuDNN spends seconds on planning its attention for every new T, and compiled parts
        recompile. Elsewhere 1: padding would only cost time.
        """
        if self.is_compiled:
            return COMPILED_TOKENS_STEP
        return TOKENS_STEP if self.device.type == "cuda" else 1

    def forward(self, batch: list[ModelInput]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """
        Args:
            batch: samples as the mapper makes them; all images of one size.

        Returns:
            in training, the weighted losses; otherwise, per sample, {"sem_seg": (2, height,
            width)}: probabilities of background and target at the sample's own height and width.
            With a presence component also {"presence": ()}, the probability that there is a target;
            where it is below the threshold, every pixel is background.
        """
        images = self.preprocess_images(batch)  # (B, 3, H, W)
        logits, presence = self.compute_logits(images, self.encode_text(batch))
        if self.training:
            targets = self.stack_targets(batch)
            losses = self.criterion(logits, targets)
            if self.presence is not None and presence is not None:
                losses = {**losses, **self.presence.losses(presence, targets.flatten(1).any(1))}
            return losses
        return self.postprocess(logits, batch, presence)

    def compute_logits(self, images: Tensor, text: TextFeatures) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            images: (B, 3, H, W), normalised.
            text: L_1.

        Returns:
            logits (B, 2, H, W), and (B,) of presence or None.
        """
        pyramid, text = self.backbone(images, text)
        if self.neck is not None:
            pyramid = self.neck(pyramid, text)
        logits = self.decoder(pyramid, text)  # (B, 2, s * h_1, s * w_1)
        presence = None if self.presence is None else self.presence(pyramid, text, logits)  # (B,)
        subpixels = logits.shape[-1] // next(iter(pyramid.values())).shape[-1]
        height, width = images.shape[-2:]
        logits = upsample_to_input(logits, (height, width), self.stride // subpixels)
        return logits, presence

    def recomputed_modules(self) -> dict[str, list[nn.Module]]:
        """The modules that each name in MODEL.CHECKPOINT_ACTIVATIONS stands for.

        A component without ``recomputed_modules`` is recomputed as a whole.
        """
        components = {
            "text_encoder": self.text_encoder,
            "backbone": self.backbone,
            "neck": self.neck,
            "decoder": self.decoder,
            "presence": self.presence,
        }
        modules = {
            name: part.recomputed_modules() if hasattr(part, "recomputed_modules") else [part]
            for name, part in components.items()
            if part is not None
        }
        return {**modules, "alignment": list(getattr(self.backbone, "alignments", ()))}

    def fit_weights(self, state: Mapping[str, Tensor]) -> FittedWeights | None:
        """Rename weights published for the backbone to this model's names.

        Returns:
            None if the backbone does not know the names.

        Raises:
            ValueError: they belong to a network like the backbone, but of other sizes.
        """
        if not hasattr(self.backbone, "fit_weights"):
            return None
        fitted = self.backbone.fit_weights(state)
        if fitted is None:
            return None
        own = {f"backbone.{name}": value for name, value in fitted.state.items()}
        return FittedWeights(own, not_used=fitted.not_used)

    def preprocess_images(self, batch: list[ModelInput]) -> Tensor:
        """Normalise the images: (B, 3, H, W) in the weights' dtype.

        Raises:
            ValueError: images of different sizes. Padding would change the result, since the
                alignment normalises over all positions.
        """
        sizes = {tuple(sample["image"].shape[-2:]) for sample in batch}
        if len(sizes) > 1:
            raise ValueError(
                f"images of one batch have different sizes {sorted(sizes)}; "
                "resize them to INPUT.SIZE, as the mapper does, or pass them one by one"
            )
        return self.normalize(torch.stack([self._to_device(sample["image"]) for sample in batch]))

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels in [0, 255] to zero mean and unit variance, in the weights' dtype."""
        return ((images - self.pixel_mean) / self.pixel_std).to(self.pixel_mean.dtype)

    def encode_text(self, batch: list[ModelInput]) -> TextFeatures:
        """Encode the batch's expressions as L_1, padded to the longest or to a fixed length.

        In evaluation a repeated expression (one query over many tiles) is encoded once.
        """
        if self.training:  # dropout differs between samples
            return self._encode_expressions(batch)
        keys = [
            tuple(tuple(field.tolist()) for field in _fields(sample, self.text_encoder.reads))
            for sample in batch
        ]
        distinct = {key: sample for key, sample in zip(keys, batch, strict=True)}
        text = self._encode_expressions(list(distinct.values()))
        if len(distinct) == len(batch):
            return text
        places = {key: place for place, key in enumerate(distinct)}
        return text.select(torch.tensor([places[key] for key in keys], device=self.device))

    def _encode_expressions(self, batch: list[ModelInput]) -> TextFeatures:
        """L_1 of each sample; its padding has no effect on results."""
        fields = [
            pad_sequence([self._to_device(field) for field in of_all_samples], batch_first=True)
            for of_all_samples in zip(
                *(_fields(sample, self.text_encoder.reads) for sample in batch), strict=True
            )
        ]  # (B, T) each; BERT's [PAD] is 0
        longest = fields[0].shape[1]
        length = self.padded_length or round_up_tokens(longest, self.tokens_step)
        fields = [F.pad(field, (0, length - longest)) for field in fields]
        return self.text_encoder(*fields)

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to the model's device, asynchronously from pinned memory."""
        return tensor.to(self.device, non_blocking=True)

    def stack_targets(self, batch: list[ModelInput]) -> Tensor:
        """Target masks (B, H, W) bool."""
        return torch.stack([self._to_device(sample["gt_mask"]) for sample in batch])

    def postprocess(
        self, logits: Tensor, batch: list[ModelInput], presence: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """Probabilities at each sample's own resolution, as ``forward`` returns them.

        Args:
            logits: (B, 2, H, W).
            presence: logits (B,), or None.
        """
        size = tuple(logits.shape[-2:])
        probability, presence = self.compute_probability(logits, presence)
        outputs = [
            {"sem_seg": sem_seg_postprocess(map_, size, sample["height"], sample["width"])}
            for map_, sample in zip(probability, batch, strict=True)
        ]
        if presence is not None:
            for output, value in zip(outputs, presence, strict=True):
                output["presence"] = value
        return outputs

    def compute_probability(
        self, logits: Tensor, presence: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """From logits (B, 2, H, W), and (B,) of presence or None, to probabilities.

        Where presence is below the threshold, every pixel is background.
        """
        probability = logits.float().softmax(dim=1)
        if presence is None:
            return probability, None
        presence = presence.float().sigmoid()
        return blank_absent(probability, presence >= self.presence_threshold), presence


def _fields(sample: Mapping[str, Any], names: Sequence[str]) -> list[Tensor]:
    """Fields (T,) of a sample, in the order of their names."""
    return [sample[name] for name in names]


def round_up_tokens(longest: int, step: int) -> int:
    """Round the length of a batch's longest expression up to a multiple of ``step``."""
    return -(-longest // step) * step


def blank_absent(probability: Tensor, is_present: Tensor) -> Tensor:
    """Make every pixel of the samples without a target background.

    Args:
        probability: (B, 2, H, W) of background and target.
        is_present: (B,) bool.
    """
    blank = torch.zeros_like(probability)
    blank[:, 0] = 1
    return torch.where(is_present[:, None, None, None], probability, blank)


def upsample_to_input(logits: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Resize logits bilinearly to the input's (H, W).

    If a side is not a multiple of the stride, the backbone has padded it; the padding is cropped,
    so that every logit stays over its pixels.
    """
    height, width = logits.shape[-2] * stride, logits.shape[-1] * stride
    logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=True)
    return logits[..., : size[0], : size[1]]
