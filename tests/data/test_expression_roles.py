import pytest
import torch

from cadformer_d2.data.class_names import OBJECT_NAMES
from cadformer_d2.data.expression_roles import (
    ExpressionRoleParser,
    find_object_spans,
    find_position_spans,
)
from cadformer_d2.data.tokenization import ExpressionTokenizer

OBJECTS = {
    "the tennis court on the left": ["tennis court"],
    "Two Storage Tanks near the roundabout": ["Storage Tanks", "roundabout"],
    "a carport": [],  # no car in it
    "the ground track field": ["ground track field"],
    "the thing": [],
}
PLACES = {
    "the tennis court on the left": ["on the left"],
    "the pool in the upper left corner": ["in the upper left corner"],
    "the tank to the right of the railway, near the roundabout": [
        "to the right",
        "near the roundabout",
    ],
    "the yellow bus among the white buses in the bottom row": [
        "among the white buses",
        "in the bottom row",
    ],
    "the largest pool": [],
}


@pytest.mark.parametrize("sentence", OBJECTS)
def test_names_of_categories_are_the_objects_words(sentence):
    found = [sentence[start:stop] for start, stop in find_object_spans(sentence, OBJECT_NAMES)]
    assert found == OBJECTS[sentence]


@pytest.mark.parametrize("sentence", PLACES)
def test_prepositional_phrases_are_the_places_words(sentence):
    found = [sentence[start:stop] for start, stop in find_position_spans(sentence, OBJECT_NAMES)]
    assert found == PLACES[sentence]


def parser(**options):
    tokenizer = ExpressionTokenizer(vocabulary="synthrs", max_tokens=options.pop("max_tokens", 64))
    return ExpressionRoleParser(
        tokenizer=tokenizer,
        names=OBJECT_NAMES,
        adds_special_tokens=options.get("adds_special_tokens", False),
    )


def words(parse, expression, mask):
    ids = parse.tokenizer(expression)
    return parse.tokenizer.spell(ids[mask])


def test_the_masks_mark_the_tokens_the_model_is_fed():
    parse, sentence = parser(), "the tennis court on the left"
    is_object, is_position = parse(sentence)
    assert words(parse, sentence, is_object) == ["tennis", "court"]
    assert words(parse, sentence, is_position) == ["on", "the", "left"]


def test_a_comma_that_touches_a_word_does_not_share_its_role():
    parse, sentence = parser(), "the tennis court, on the left, is meant"
    is_object, is_position = parse(sentence)
    assert words(parse, sentence, is_object) == ["tennis", "court"]
    assert words(parse, sentence, is_position) == ["on", "the", "left"]


def test_without_a_place_the_whole_sentence_serves():
    is_object, is_position = parser()("the tennis court")
    assert is_position.all() and is_object.tolist() == [False, False, True, True, False]


def test_special_tokens_join_both_roles_if_asked():
    is_object, is_position = parser(adds_special_tokens=True)("the roundabout on the left")
    assert is_object.tolist() == [True, False, True, False, False, False, True]
    assert is_position[[0, -1]].all()


def test_a_cut_sentence_has_masks_of_its_length():
    parse = parser(max_tokens=5)
    sentence = "the roundabout next to the tennis court on the left"
    masks = parse(sentence)
    assert all(mask.shape == parse.tokenizer(sentence).shape == torch.Size([5]) for mask in masks)
