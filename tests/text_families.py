"""Tiny random text encoders of every family, and folders of them as they are published."""

import json

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPTextConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    SiglipConfig,
    SiglipTextConfig,
)

SENTENCES = (
    "the storage tank on the left of the road",
    "the tennis court next to two swimming pools",
    "a roundabout in the upper right corner",
)
VOCABULARY_SIZE = 320
SIZES = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 80,
}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
CONFIGS = {
    "BERT": lambda: BertConfig(**SIZES),
    "RoBERTa": lambda: RobertaConfig(**SIZES, **SPECIAL),
    "DistilBERT": lambda: DistilBertConfig(
        vocab_size=VOCABULARY_SIZE, dim=16, n_layers=3, n_heads=2, hidden_dim=24
    ),
    "MPNet": lambda: MPNetConfig(**SIZES, **SPECIAL),
    "CLIP": lambda: CLIPTextConfig(**SIZES, **SPECIAL),
    "SigLIP": lambda: SiglipTextConfig(**SIZES, **SPECIAL),
    # Two of its layers look at their neighbours alone.
    "ModernBERT": lambda: ModernBertConfig(
        **SIZES,
        **SPECIAL,
        cls_token_id=0,
        sep_token_id=2,
        local_attention=4,
        global_attn_every_n_layers=2,
    ),
}
# CLIP and its like are published as pairs, from which the text tower is taken.
PAIRS = {
    "CLIP": lambda text: CLIPConfig(
        text_config=text.to_dict(), vision_config=VISION, projection_dim=8
    ),
    "SigLIP": lambda text: SiglipConfig(text_config=text.to_dict(), vision_config=VISION),
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


def byte_level():
    """RoBERTa's and ModernBERT's kind: words are spelt in bytes, so none is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def sentence_pieces():
    """SigLIP's kind: no token opens an expression, and one closes it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60,
        special_tokens=["<unk>", "<pad>", "</s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    return tokenizer


def clip_pieces():
    """CLIP's kind: lower case, ends of words marked."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=90,
        special_tokens=["<|startoftext|>", "<pad>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", 2), ("<|startoftext|>", 0), trim_offsets=False
    )
    return tokenizer


def word_pieces():
    """BERT's kind."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=90,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


TOKENIZERS = {
    "BERT": word_pieces,
    "RoBERTa": byte_level,
    "CLIP": clip_pieces,
    "SigLIP": sentence_pieces,
}


def save_tokenizer(folder, name):
    """Write the two files that transformers reads a tokenizer from."""
    folder.mkdir(exist_ok=True)
    TOKENIZERS[name]().save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
