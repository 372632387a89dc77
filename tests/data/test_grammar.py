import re
from dataclasses import dataclass

import numpy as np
import pytest

from cadformer_d2.data.grammar.constraints import (
    FarthestFrom,
    FirstAmong,
    InHalf,
    Landmark,
    NearestTo,
    NthFrom,
    Outermost,
    SideOf,
    SizeRank,
)
from cadformer_d2.data.grammar.descriptions import (
    KINDS,
    Description,
    choose_by_kind,
    propose_group_relations,
    propose_places,
    propose_ranks,
    propose_relations,
    propose_sizes,
    unique_descriptions,
)
from cadformer_d2.data.grammar.phrasing import write_expression
from cadformer_d2.data.grammar.wording import wide_wording

PROPOSERS = (
    *(propose_places, propose_relations, propose_group_relations),
    *(propose_sizes, propose_ranks),
)


@dataclass(frozen=True)
class Thing:
    category: str
    x: float
    y: float
    area: float = 0.01


@dataclass(frozen=True)
class Graph:
    objects: tuple
    incomplete: tuple = ()
    aspect: float = 1.0
    order_margin: float = 0.035

    def of_category(self, category):
        return [thing for thing in self.objects if thing.category == category]

    def is_complete(self, category):
        return category not in self.incomplete


def ships(*places, areas=None):
    areas = areas or [0.01] * len(places)
    return tuple(Thing("ship", x, y, a) for (x, y), a in zip(places, areas, strict=True))


def truth(constraint, graph):
    return [constraint.holds(graph, thing) for thing in graph.objects]


@pytest.mark.parametrize(
    ("areas", "largest", "smallest"),
    [
        ((0.04, 0.02, 0.02), (True, False, False), (False, None, None)),
        ((0.04, 0.035, 0.01), (None, None, False), (False, False, True)),
    ],
)
def test_the_largest_leads_clearly_or_nobody_says_so(areas, largest, smallest):
    graph = Graph(ships((0.1, 0.1), (0.5, 0.5), (0.9, 0.9), areas=areas))
    assert truth(SizeRank(largest=True), graph) == list(largest)
    assert truth(SizeRank(largest=False), graph) == list(smallest)


def test_the_first_of_a_half_need_not_be_the_first_of_all():
    graph = Graph(ships((0.1, 0.8), (0.3, 0.2), (0.7, 0.2)))
    leftmost_above = FirstAmong(InHalf("upper"), Outermost("left"))
    assert truth(Outermost("left"), graph) == [True, False, False]
    assert truth(leftmost_above, graph) == [False, True, False]


def test_what_may_lie_in_the_half_as_well_must_be_beaten():
    graph = Graph(ships((0.1, 0.51), (0.3, 0.2), (0.7, 0.2)))
    leftmost_above = FirstAmong(InHalf("upper"), Outermost("left"))
    assert leftmost_above.holds(graph, graph.objects[1]) is not True


def test_nobody_calls_the_only_ship_of_a_half_its_largest():
    graph = Graph(ships((0.1, 0.8), (0.3, 0.2), areas=[0.01, 0.04]))
    largest_above = FirstAmong(InHalf("upper"), SizeRank(largest=True))
    assert truth(largest_above, graph) == [False, None]


def test_a_row_is_counted_from_the_side_that_is_named():
    graph = Graph(ships((0.7, 0.5), (0.1, 0.4), (0.4, 0.6)))
    assert truth(NthFrom("left", 2), graph) == [False, False, True]
    assert truth(NthFrom("right", 3), graph) == [False, True, False]
    close = Graph(ships((0.1, 0.5), (0.12, 0.4), (0.4, 0.6)))
    assert NthFrom("left", 2).holds(close, close.objects[1]) is None


def test_left_of_the_courts_is_left_of_every_court():
    courts = (Thing("court", 0.3, 0.5), Thing("court", 0.7, 0.5))
    graph = Graph((*ships((0.1, 0.5), (0.5, 0.5), (0.9, 0.5)), *courts))
    beside = SideOf("left", Landmark(courts))
    assert [beside.holds(graph, ship) for ship in graph.objects[:3]] == [True, None, False]


def test_the_nearest_to_a_group_is_nearest_to_one_of_its_members():
    courts = (Thing("court", 0.1, 0.1), Thing("court", 0.9, 0.9))
    graph = Graph((*ships((0.85, 0.8), (0.5, 0.5)), *courts))
    group = Landmark(courts)
    assert [NearestTo(group).holds(graph, s) for s in graph.objects[:2]] == [True, False]
    assert [FarthestFrom(group).holds(graph, s) for s in graph.objects[:2]] == [False, True]


def test_distances_are_measured_in_the_image_not_in_its_fractions():
    tank = Landmark((Thing("tank", 0.5, 0.5),))
    things = (*ships((0.7, 0.5), (0.5, 0.75)), *tank.members)
    assert truth(NearestTo(tank), Graph(things))[:2] == [None, None]
    wide = Graph(things, aspect=0.4)  # 0.25 of the height is 0.1 of the width
    assert truth(NearestTo(tank), wide)[:2] == [False, True]


def test_a_category_that_is_not_labelled_in_full_is_neither_target_nor_landmark_nor_counted():
    things = (*ships((0.1, 0.5), (0.9, 0.5)), Thing("vehicle", 0.5, 0.5))
    graph = Graph(things, incomplete=("vehicle",))
    assert unique_descriptions(graph, things[2], PROPOSERS) == []
    found = [d for ship in things[:2] for d in unique_descriptions(graph, ship, PROPOSERS)]
    assert found and {d.kind for d in found} == {"position"}
    wording = wide_wording(("ship", "vehicle"))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        text = write_expression(graph, things[0], found[0], long=True, wording=wording, rng=rng)
        assert "vehicle" not in text and "car" not in text.split()


@pytest.fixture(scope="module")
def crowded():
    rng = np.random.default_rng(3)
    names = ["ship"] * 4 + ["airplane"] * 2 + ["storage tank"] * 3 + ["bridge"]
    places = [(x, y) for x in (0.1, 0.36, 0.62, 0.88) for y in (0.12, 0.5, 0.88)]
    chosen = rng.permutation(len(places))[: len(names)]
    areas = rng.uniform(0.002, 0.03, len(names))
    return Graph(
        tuple(
            Thing(name, *places[index], area=float(area))
            for name, index, area in zip(names, chosen, areas, strict=True)
        )
    )


def test_every_description_can_be_said_and_says_its_category(crowded):
    wording = wide_wording(sorted({thing.category for thing in crowded.objects}))
    kinds = set()
    for target in crowded.objects:
        names = {target.category, *wording.synonyms.get(target.category, ())}
        for number, description in enumerate(unique_descriptions(crowded, target, PROPOSERS)):
            kinds.add(description.kind)
            for long in (False, True):
                text = write_expression(
                    *(crowded, target, description),
                    long=long,
                    wording=wording,
                    rng=np.random.default_rng(number),
                )
                assert re.fullmatch(r"[a-z ,]+", text), text
                assert any(name in text for name in names), text
                assert not re.search(r"\ba [aeiou]", text), text
    assert kinds == set(KINDS)


def test_a_unique_description_holds_for_its_target_alone(crowded):
    for target in crowded.objects:
        for description in unique_descriptions(crowded, target, PROPOSERS):
            meant = [
                thing
                for thing in crowded.of_category(description.category)
                if all(c.holds(crowded, thing) is True for c in description.constraints)
            ]
            assert meant == [target]


def test_a_name_that_is_a_category_of_its_own_is_no_synonym():
    assert "tank" in wide_wording(("storage tank",)).synonyms["storage tank"]
    assert "tank" not in wide_wording(("storage tank", "tank")).synonyms["storage tank"]


def test_rare_kinds_are_chosen_before_frequent_ones():
    landmark = Landmark((Thing("bridge", 0.5, 0.5),))
    candidates = [Description("ship", (InHalf(side),)) for side in ("left", "right", "upper")]
    candidates += [Description("ship", (SideOf("left", landmark),))]
    candidates += [Description("ship", (SizeRank(largest=True),))]
    chosen = choose_by_kind(candidates, np.random.default_rng(0), most=3)
    assert [description.kind for description in chosen] == ["relation", "size", "position"]
