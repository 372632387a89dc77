import pytest

from cadformer_d2.data.categories import match_categories


def test_names_are_matched_in_any_spelling_whatever_the_order_of_ids():
    classes = ("airplane", "tennis court", "expressway toll station")
    names = {7: "Tennis-Court", 2: "expressway_toll_station", 5: "Airplane"}
    assert match_categories(names, classes) == {7: 1, 2: 2, 5: 0}


def test_one_odd_name_leaves_the_others_where_they_belong(caplog):
    classes = ("airplane", "ship", "dam")
    assert match_categories({1: "dam", 2: "vessel", 3: "airplane"}, classes) == {1: 2, 2: 1, 3: 0}
    assert "'vessel' as 'ship'" in caplog.text


def test_a_file_all_of_whose_names_are_others_is_taken_in_order_and_says_so(caplog):
    assert match_categories({4: "Schiff", 2: "Damm"}, ("dam", "ship")) == {2: 0, 4: 1}
    assert "category 'Damm' is not one of the classes" in caplog.text


@pytest.mark.parametrize(
    "names",
    [
        {1: "dam", 2: "vessel", 3: "plane"},  # two odd ones: which is which would be a guess
        {1: "dam", 2: "ship", 3: "airplane", 4: "vessel"},
        {1: "vessel", 2: "plane"},
    ],
)
def test_names_that_cannot_be_told_are_refused(names):
    with pytest.raises(ValueError, match="category '.*' is not one of the classes.* rename it"):
        match_categories(names, ("airplane", "ship", "dam"))


def test_punctuation_tells_names_apart():
    assert match_categories({1: "C++", 2: "C"}, ("C", "C++")) == {1: 1, 2: 0}


def test_without_known_classes_ids_count():
    assert match_categories({9: "b", 3: "a"}, None) == {3: 0, 9: 1}
