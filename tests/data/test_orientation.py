import itertools

import numpy as np
import pytest

from cadformer_d2.data.orientation import Orientation, list_orientations

EIGHT = [Orientation(m, turns) for m, turns in itertools.product((False, True), range(4))]
MIRROR, UPSIDE_DOWN, TURN = Orientation(True), Orientation(True, 2), Orientation(False, 1)
# (row, column) in a grid of three, by what a sentence calls the place.
PLACES = {
    "top": (0, 1),
    "bottom": (2, 1),
    "left": (1, 0),
    "right": (1, 2),
    "upper left": (0, 0),
    "upper right": (0, 2),
    "lower left": (2, 0),
    "lower right": (2, 2),
}


@pytest.mark.parametrize("orientation", EIGHT, ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_the_sentence_still_tells_where_the_object_is(orientation, place):
    picture = np.zeros((3, 3), np.uint8)
    picture[PLACES[place]] = 1
    sentence = orientation.reword(f"the pool on the {place}")
    assert sentence is not None
    told = PLACES[sentence.removeprefix("the pool on the ")]
    assert np.argwhere(orientation.turn(picture)).tolist() == [list(told)]


@pytest.mark.parametrize("orientation", EIGHT, ids=str)
def test_relations_turn_with_the_picture(orientation):
    picture = np.zeros((3, 3), np.uint8)
    picture[1, 0] = 1  # the tank, left of the pool in the middle
    row, column = np.argwhere(orientation.turn(picture))[0]
    said = {(1, 0): "to the left of", (1, 2): "to the right of", (0, 1): "above", (2, 1): "below"}
    sentence = orientation.reword("the tank to the left of the pool")
    assert sentence == f"the tank {said[(row, column)]} the pool"


CHANGES = {
    (MIRROR, "the leftmost pool in the north-west"): "the rightmost pool in the north east",
    (UPSIDE_DOWN, "the northeastern tank above the road"): "the southeastern tank below the road",
    (TURN, "the pool right of the tank"): "the pool above the tank",
    (TURN, "the pool in the bottom row"): "the pool in the right column",
    (TURN, "the pool in the left of the image"): "the pool in the bottom of the image",
    (MIRROR, "the top-left corner"): "the top right corner",
    (MIRROR, "the Left half"): "the right half",
    (MIRROR, "the copyright sign"): "the copyright sign",
}


@pytest.mark.parametrize(("orientation", "sentence"), CHANGES)
def test_words_for_directions_change_and_no_others(orientation, sentence):
    assert orientation.reword(sentence) == CHANGES[orientation, sentence]


@pytest.mark.parametrize(
    "sentence", ["the pool right next to the road", "the one under the bridge", "the left-hand one"]
)
def test_a_sentence_that_cannot_be_changed_safely_is_refused(sentence):
    assert MIRROR.reword(sentence) is None
    assert Orientation().reword(sentence) == sentence


def test_changes_combine_to_the_group_they_generate():
    assert list_orientations(()) == (Orientation(),)
    assert set(list_orientations(("horizontal_flip",))) == {Orientation(), MIRROR}
    assert len(list_orientations(("horizontal_flip", "vertical_flip"))) == 4
    assert set(list_orientations(("vertical_flip", "quarter_turns"))) == set(EIGHT)


def test_an_unknown_change_lists_the_known_ones():
    with pytest.raises(ValueError, match="has 'hflip'; known: horizontal_flip, vertical_flip"):
        list_orientations(("hflip",))
