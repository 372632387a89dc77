"""Every configuration key this project adds to Detectron2's, with its default, unit and source.

Defaults are the paper's (CADFormer, IEEE JSTARS 18:14557, 2025) unless a comment says otherwise.
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_cadformer_config(cfg: CfgNode) -> None:
    """Add CADFormer's keys and defaults to Detectron2's default config, in place."""
    _add_data_keys(cfg)
    _add_model_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)
    _retire_keys(cfg)


def _retire_keys(cfg: CfgNode) -> None:
    """Let older configs and checkpoints load: these keys are ignored with a warning."""
    # Whether words are told apart follows from MODEL.ALIGNMENT.NAME.
    cfg.register_deprecated_key("INPUT.TOKEN_ROLES")


def drop_pretrained_weights(cfg: CfgNode) -> None:
    """Clear the keys of pre-trained weights, in place: enough for measuring a network's cost."""
    text = cfg.MODEL.TEXT_ENCODER
    text.CONFIG = text.CONFIG or text.WEIGHTS
    cfg.MODEL.WEIGHTS = text.WEIGHTS = cfg.MODEL.BACKBONE.WEIGHTS = ""


def _add_data_keys(cfg: CfgNode) -> None:
    # Datasets evaluated during training; the best checkpoint has the highest oIoU there.
    # TRAIN and TEST are Detectron2's own; --eval-only evaluates TEST.
    cfg.DATASETS.VAL = ()
    # False: an unusable record is an error. True: it is skipped, counted and logged.
    cfg.DATASETS.LENIENT = False

    # Channel order of the pixels the network sees; MODEL.PIXEL_MEAN and PIXEL_STD follow it.
    cfg.INPUT.FORMAT = "RGB"
    # (height, width) in pixels to which every image is resized; aspect ratio is not kept. (): the
    # size with which the backbone's weights were trained, if they have a record (timm's).
    cfg.INPUT.SIZE = (480, 480)
    # Longest expression in tokens, special ones ([CLS], [SEP]) included; the rest is cut. The
    # authors' released code cuts at 20, which loses words in 65 % of RSVG-HR's expressions.
    cfg.INPUT.MAX_TOKENS = 64
    # Whether every expression is padded to MAX_TOKENS, as in the authors' released code, instead of
    # to the longest of its batch. It affects only components with that code's defects
    # (SMGAMAsReleased, TCMDAsReleased).
    cfg.INPUT.PAD_TO_MAX_TOKENS = False
    # The tokenizer. "": the text encoder's own, from the place of its WEIGHTS or CONFIG. Else a
    # Hugging Face name in the local cache, a folder, "package:NAME/folder", a tokenizer.json, a
    # vocab.txt of BERT's, a checkpoint of this project, or "synthrs" (the small vocabulary shipped
    # with the generator).
    cfg.INPUT.TOKENIZER = ""
    # FIANet's alignment distinguishes words for the object from words for its place. Object names
    # beyond those of the project's datasets, for your own classes:
    cfg.INPUT.OBJECT_NAMES = ()
    # Whether [CLS] and [SEP] count as words of both roles. Off: FIANet as published, whose branch
    # for the object is exactly zero where a single token names it.
    cfg.INPUT.ROLE_SPECIAL_TOKENS = False
    # Augmentations of the training image, in order: [name, argument, ...] each, where the name is
    # one of Detectron2's (RandomBrightness, RandomFlip, RandomApply, ...) or of those that
    # docs/extending.md lists, and a mapping at the end holds arguments by keyword. The mask and the
    # words for directions follow; augmentations that would falsify the expression are skipped. ():
    # the paper.
    cfg.INPUT.AUGMENTATIONS = ()
    # Short for a first line ["RandomOrientation", ORIENTATIONS]: "horizontal_flip",
    # "vertical_flip", "quarter_turns". Empty: off, the paper. The image of an expression that
    # cannot be changed safely stays as it is.
    cfg.INPUT.ORIENTATIONS = ()
    # Short for a line ["ReleasedBoxes", fewest, most] before all others: black 32 x 32 boxes on the
    # image of one fifth of the training refs, in image pixels. (0, 0): off, the paper. The authors'
    # released code uses (20, 60).
    cfg.INPUT.RANDOM_ERASE_BOXES = (0, 0)


def _add_model_keys(cfg: CfgNode) -> None:
    cfg.MODEL.META_ARCHITECTURE = "CADFormer"
    # Statistics of 0-255 pixels in INPUT.FORMAT order. []: those with which the backbone's weights
    # were trained (ImageNet's for Swin, timm's record for its networks); a checkpoint carries the
    # numbers.
    cfg.MODEL.PIXEL_MEAN = []
    cfg.MODEL.PIXEL_STD = []
    # "" (random start), a checkpoint of this project, a folder that `cadformer export` made or its
    # Hugging Face name in the local cache, or weights that others published for the backbone, such
    # as Microsoft's Swin release.
    cfg.MODEL.WEIGHTS = ""

    # Components that recompute their activations in the backward pass, for less memory and a longer
    # step: any of "text_encoder", "backbone", "alignment", "neck", "decoder", "presence".
    # docs/performance.md says what each saves.
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = ()

    # Whether batch norms see the samples of all processes, as in the releases of CADFormer, LAVT,
    # LGCE and RMSIN (FIANet's: no). Nothing changes for one process. CIM's one-dimensional norm
    # cannot be synchronised by processes on a CPU.
    cfg.MODEL.SYNC_BATCH_NORM = True

    text = cfg.MODEL.TEXT_ENCODER = CfgNode()
    # "BertTextEncoder", whose sizes are the keys below, or "HuggingFaceTextEncoder": any encoder of
    # the transformers library, with the sizes of its config.json.
    text.NAME = "BertTextEncoder"
    # Pre-trained weights: a Hugging Face name in the local cache, a folder with
    # config.json and the weights, or "package:NAME/folder". "": random start. A BertTextEncoder's
    # sizes must be those below.
    text.WEIGHTS = "bert-base-uncased"
    # Architecture of a HuggingFaceTextEncoder, if it differs from that of WEIGHTS: the same kinds
    # of places, or "json:" and the content of a config.json. With WEIGHTS "" it starts at random.
    # Checkpoints carry it, so they need no other file.
    text.CONFIG = ""
    # Encoder layers that run: -1 all (12 of BERT-base), n the first n, 0 the embedding table only
    # (the authors' released code).
    text.NUM_LAYERS = -1
    # Sizes and dropout of a BertTextEncoder; the defaults are BERT-base's.
    text.VOCAB_SIZE = 30522
    text.HIDDEN_SIZE = 768
    text.NUM_HEADS = 12
    text.FFN_DIM = 3072
    # On hidden states and attention weights.
    text.DROPOUT = 0.1
    # Parts of the encoder that do not train, such as "embeddings" or "encoder.layer.11"; ("all",):
    # nothing trains, and it runs without dropout. (): all train, as in the papers;
    # configs/released_optimizer.yaml lists what the releases do not train.
    text.FROZEN = ()

    swin = cfg.MODEL.SWIN = CfgNode()
    # Channels of stage 1; stage i has EMBED_DIM * 2^(i-1).
    swin.EMBED_DIM = 128
    # Blocks of each stage.
    swin.DEPTHS = (2, 2, 18, 2)
    # Attention heads of each stage.
    swin.NUM_HEADS = (4, 8, 16, 32)
    # Side of an attention window, in positions.
    swin.WINDOW_SIZE = 12
    # Stochastic depth: the rate of the last block; it grows linearly from 0.
    swin.DROP_PATH_RATE = 0.3

    timm = cfg.MODEL.TIMM = CfgNode()
    # TextAwareTimm's network, as in timm.list_models(): convnext_tiny, resnet50, ... A tag behind a
    # dot (convnext_tiny.dinov3_lvd1689m) selects the weights whose record MODEL.PIXEL_MEAN []
    # follows.
    timm.NAME = ""
    # Strides of the levels that become stages, finest first; 2 to 4 of them.
    timm.STRIDES = (4, 8, 16, 32)
    # Stochastic depth, distributed over the blocks as the network does it.
    timm.DROP_PATH_RATE = 0.0
    # Whether alignments are given LayerNorm(V_i) + position_i, at one scale, and the network goes
    # on from V_i as it is. False: they are given V_i, and a position signal is added to V_1.
    timm.STAGE_VIEWS = True

    backbone = cfg.MODEL.BACKBONE
    # TextAwareSwin (MODEL.SWIN) or TextAwareTimm (MODEL.TIMM).
    backbone.NAME = "TextAwareSwin"
    # Pre-trained weights of the backbone's network alone: a .pth or .safetensors file,
    # "package:NAME/path" for one that an installed package carries, or a Hugging Face name
    # ("timm/convnext_tiny.in12k") that is in the cache. "": none. MODEL.WEIGHTS is loaded after
    # them.
    backbone.WEIGHTS = ""
    # Number of first stages, with the stem, that do not train; their alignments do. Detectron2's
    # FREEZE_AT is not read, because its default, 2, is in every config ever written.
    backbone.FROZEN_STAGES = 0
    # Whether to freeze the network's batch norms, statistics included, like Detectron2's FrozenBN:
    # for pre-trained networks and small batches.
    backbone.FREEZE_BATCH_NORM = False

    position = cfg.MODEL.POSITION = CfgNode()
    # Absolute position signal: "none" (the paper) or "sincos".
    position.NAME = "none"
    # Sine/cosine waves per axis for "sincos": wave k runs k / 2 times across the image.
    position.NUM_WAVES = 4

    alignment = cfg.MODEL.ALIGNMENT = CfgNode()
    alignment.NAME = "SMGAM"
    # Attention heads of the alignment at each stage (1 in the release; the paper
    # says multi-head attention and names no number).
    alignment.NUM_HEADS = (1, 1, 1, 1)
    # The feature of a stage that neck and decoder read: "gated", gate(F_i) * F_i (the paper: "a
    # language gate to produce the refined visual features"), or "fused", F_i itself (every released
    # code).
    alignment.DECODER_FEATURE = "gated"
    # Dropout after each projection of LGVLA and VGLVA (0 in every published recipe).
    alignment.DROPOUT = 0.0

    cfg.MODEL.NECK = CfgNode()
    # "" (the paper) or the name of a registered neck.
    cfg.MODEL.NECK.NAME = ""
    # Blocks of the TMEM neck (FIANet: 3 on RRSIS-D, 1 on RefSegRS).
    cfg.MODEL.NECK.NUM_BLOCKS = 3

    decoder = cfg.MODEL.DECODER = CfgNode()
    decoder.NAME = "TCMD"
    # Channels of the decoder (768 in TCMD; 512, half of stage 4's, in LAVT's line).
    decoder.HIDDEN_DIM = 768
    # Attention heads of the Transformer layers.
    decoder.NUM_HEADS = 8
    # Hidden width of the Transformer layers' feed-forward part.
    decoder.FFN_DIM = 2048
    # Dropout of the Transformer layers.
    decoder.DROPOUT = 0.1
    # Rotated kernels per adaptive rotated convolution of TCMD and OAD (n in arXiv 2303.07820; 1 in
    # CADFormer and RMSIN).
    decoder.NUM_KERNELS = 1

    # Positions per axis for which the decoder's last map has logits, 1, 2 or 4: finer masks where
    # objects are a few strides large. The papers have 1.
    decoder.SUBPIXELS = 1

    presence = cfg.MODEL.PRESENCE = CfgNode()
    # What says whether the expression has a target: "" (nothing: in the papers it always has one),
    # "PooledPresence", trained beside the mask, or "MaskArea", a threshold on the mask's area.
    presence.NAME = ""
    # Probability of a target below which the mask is left empty, in evaluation and prediction. 0:
    # no mask is.
    presence.THRESHOLD = 0.5
    # Weight of PooledPresence's binary cross-entropy in the training loss.
    presence.LOSS_WEIGHT = 0.25
    # Width of PooledPresence's hidden layers.
    presence.HIDDEN_DIM = 256
    # MaskArea: share of the image at which the probability is 0.5; that of the 50 of 480 x 480
    # pixels which GRES (arXiv 2306.00968) takes.
    presence.MIN_AREA = 50 / 480**2

    loss = cfg.MODEL.LOSS = CfgNode()
    # The registered loss; the keys below are CrossEntropyDice's, the paper's.
    loss.NAME = "CrossEntropyDice"
    # Weight of the cross-entropy and of the Dice term.
    loss.CE_WEIGHT = 0.9
    loss.DICE_WEIGHT = 0.1
    # Cross-entropy weights of (background, target), those of the releases; the paper names none.
    loss.CLASS_WEIGHTS = (0.9, 1.1)
    # How Dice is reduced over the batch: "mean", or "sum" as in the authors' released code.
    loss.DICE_REDUCTION = "mean"


def _add_solver_keys(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    solver.BASE_LR = 5e-5
    # Learning rate of the text encoder as a multiple of BASE_LR (1 in the papers).
    solver.TEXT_ENCODER_LR_FACTOR = 1.0
    # The same of the backbone's network, without its alignments.
    solver.BACKBONE_LR_FACTOR = 1.0
    solver.WEIGHT_DECAY = 0.01
    # Norms, biases and relative position tables.
    solver.WEIGHT_DECAY_NORM = 0.0
    solver.WEIGHT_DECAY_BIAS = 0.0
    # Samples per iteration over all processes.
    solver.IMS_PER_BATCH = 2
    # Passes over the training refs. Detectron2 counts iterations: MAX_ITER, CHECKPOINT_PERIOD and
    # TEST.EVAL_PERIOD of -1 are derived (NUM_EPOCHS epochs; every epoch); a positive value wins.
    solver.NUM_EPOCHS = 40
    solver.MAX_ITER = -1
    solver.CHECKPOINT_PERIOD = -1
    # "PolynomialLR": lr_t = BASE_LR * (1 - t / MAX_ITER)^POLY_POWER, updated every iteration. Or
    # Detectron2's "WarmupCosineLR" (BASE_LR_END), "WarmupMultiStepLR" (STEPS, GAMMA).
    solver.LR_SCHEDULER_NAME = "PolynomialLR"
    solver.POLY_POWER = 0.9
    # Linear warm-up, in iterations (none in the paper).
    solver.WARMUP_ITERS = 0
    # With SOLVER.AMP.ENABLED: "bfloat16" or "float16" (the latter needs CUDA).
    solver.AMP.DTYPE = "bfloat16"
    # Compile the network's repeated blocks with torch.compile: minutes at the start, then faster
    # steps.
    solver.COMPILE = False

    cfg.SEED = 42


def _add_test_keys(cfg: CfgNode) -> None:
    # Samples per forward pass in evaluation.
    cfg.TEST.BATCH_SIZE = 1
    cfg.TEST.EVAL_PERIOD = -1
    # Dtype of matrix products in evaluation and prediction: "float32", "bfloat16", or
    # "float16" (the latter needs CUDA).
    cfg.TEST.DTYPE = "float32"
    # "input": compare masks at INPUT.SIZE, as the papers do; "native": at the image's size.
    cfg.TEST.EVAL_RESOLUTION = "input"
    # IoU of a target whose mask at that size is empty, as the prediction is: 0 (LAVT's line) or 1.
    # An expression without a target counts in gIoU, N-acc and oIoU, which do not read this.
    cfg.TEST.EMPTY_IOU = 0.0
