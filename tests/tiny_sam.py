"""SAM and SAM 2 with random weights, small enough for a test, saved as their releases are."""

import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
    Sam2VisionConfig,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

SIDE = 64  # pixels of the network's input
DECODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_dim": 64,
    "iou_head_hidden_dim": 32,
    "iou_head_depth": 2,
}


def save_tiny_sam(folder):
    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
        output_channels=32,
        num_pos_feats=16,
        window_size=4,
        global_attn_indexes=[1],
        mlp_dim=64,
    )
    prompt = SamPromptEncoderConfig(
        hidden_size=32, image_size=SIDE, patch_size=8, mask_input_channels=4
    )
    decoder = SamMaskDecoderConfig(**DECODER)
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    SamModel(config).save_pretrained(folder)
    square, quarter = {"height": SIDE, "width": SIDE}, {"height": 16, "width": 16}
    processor = SamImageProcessor(
        size={"longest_edge": SIDE},
        pad_size=square,
        mask_size={"longest_edge": 16},
        mask_pad_size=quarter,
    )
    SamProcessor(processor).save_pretrained(folder)
    return str(folder)


def sam2_parts():
    """Configs of what SAM 2 for images and for videos have in common."""
    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        num_attention_heads=1,
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 4, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
        image_size=[SIDE, SIDE],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    prompt = Sam2PromptEncoderConfig(
        hidden_size=32, image_size=SIDE, patch_size=16, mask_input_channels=4
    )
    return {
        "vision_config": vision,
        "prompt_encoder_config": prompt,
        "mask_decoder_config": Sam2MaskDecoderConfig(**DECODER),
    }


def sam2_image_processor():
    square, quarter = {"height": SIDE, "width": SIDE}, {"height": 16, "width": 16}
    return Sam2ImageProcessor(size=square, mask_size=quarter)


def save_tiny_sam2(folder):
    torch.manual_seed(0)
    Sam2Model(Sam2Config(**sam2_parts())).save_pretrained(folder)
    Sam2Processor(sam2_image_processor()).save_pretrained(folder)
    return str(folder)


def save_tiny_sam2_video(folder):
    """As SAM 2 is published: its checkpoints are those of the model for videos."""
    torch.manual_seed(0)
    config = Sam2VideoConfig(
        **sam2_parts(),
        image_size=SIDE,
        memory_attention_hidden_size=32,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32,
        memory_fuser_embed_dim=32,
        memory_fuser_num_layers=1,
    )
    Sam2VideoModel(config).save_pretrained(folder)
    videos = Sam2VideoVideoProcessor(size={"height": SIDE, "width": SIDE})
    Sam2VideoProcessor(sam2_image_processor(), videos).save_pretrained(folder)
    return str(folder)
