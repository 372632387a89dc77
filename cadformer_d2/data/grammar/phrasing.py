"""From descriptions to expressions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..refer_writer import words_of
from .constraints import (
    HORIZONTAL,
    VERTICAL,
    Constraint,
    FarthestFrom,
    FirstAmong,
    InHalf,
    InRegion,
    NearestTo,
    NthFrom,
    Outermost,
    SideOf,
    SizeRank,
)
from .descriptions import Description, true_clauses
from .scene_graph import GraphObject, SceneGraph
from .statements import Statement
from .wording import Wording, Words, name_of, pick, plural

LONGEST_EXPRESSION = 41  # words, as in RRSIS-HR
ADJECTIVE_SHARE = 0.6  # of extremes said before the noun
PLAIN_HALF_SHARE = 0.3  # of halves said as "on the left"
NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
ORDINAL_WORDS = {2: "second", 3: "third", 4: "fourth"}


def write_expression(
    scene: SceneGraph,
    target: GraphObject,
    description: Description,
    *,
    long: bool,
    wording: Wording,
    rng: np.random.Generator,
) -> str:
    """Write an expression for a description that singles out ``target``.

    Args:
        long: add true clauses about landmarks and places, up to 41 words in all.
    """
    phrase = _write_short_phrase(scene, description, wording, rng)
    if not long:
        return phrase
    true = _shuffle(true_clauses(scene, target), rng)
    if not wording.repeats_itself:
        said = {getattr(constraint, "half", constraint) for constraint in description.constraints}
        true = [clause for clause in true if clause not in said]
    return _say_at_length(scene, phrase, true, wording.long_openings, wording, rng)


def _say_at_length(
    scene: SceneGraph,
    phrase: str,
    true: Sequence[Constraint],
    openings: Words,
    wording: Wording,
    rng: np.random.Generator,
) -> str:
    """Add true clauses and what else is in the scene, up to 41 words in all."""
    clauses = [_write_clause(clause, wording, rng) for clause in true]
    if things := _list_inventory(scene, wording, rng):
        clauses.append(pick(wording.inventory, rng).format(things=things))
    chosen = clauses[: int(rng.integers(1, 4))]
    opening = str(rng.choice(openings))
    expression = opening.format(phrase=phrase, clauses=_join(chosen))
    while len(words_of(expression)) > LONGEST_EXPRESSION:
        chosen.pop()
        expression = opening.format(phrase=phrase, clauses=_join(chosen))
    return expression


def _write_short_phrase(
    scene: SceneGraph, description: Description, wording: Wording, rng: np.random.Generator
) -> str:
    """Write the shortest usual phrase for a description."""
    name = name_of(description.category, wording, rng)
    if not description.constraints:
        return _fix_article(str(rng.choice(wording.category)).format(object=name))
    (constraint,) = description.constraints
    count = len(scene.of_category(description.category))
    if isinstance(constraint, InRegion):
        template, region = str(rng.choice(wording.region)), _region_name(constraint)
        words = {"object": name, "place": pick(wording.places[region], rng)}
        if "{at}" in template:
            words["at"] = pick(wording.prepositions[region], rng)
        return _fix_article(template.format(**words))
    if isinstance(constraint, Outermost):
        before, behind = wording.outermost[constraint.side]
        if rng.random() < ADJECTIVE_SHARE:
            return f"the {pick(before, rng)} {name}"
        return f"the {name} {pick(behind, rng)}"
    if isinstance(constraint, SizeRank):
        return f"the {_pick_size_word(constraint, count, wording, rng)} {name}"
    if isinstance(constraint, FirstAmong):
        rank = constraint.rank
        word = (
            _pick_size_word(rank, count, wording, rng)
            if isinstance(rank, SizeRank)
            else pick(wording.outermost[rank.side][0], rng)
        )
        half = _write_clause(constraint.half, wording, rng)
        words = {"rank": word, "object": name, "objects": plural(name), "half": half}
        return pick(wording.first_among, rng).format(**words)
    if isinstance(constraint, NthFrom):
        number, side = ORDINAL_WORDS[constraint.number], wording.edges[constraint.side]
        return pick(wording.numbered, rng).format(number=number, object=name, side=side)
    return f"the {name} {_write_clause(constraint, wording, rng)}"


def write_statement(
    statement: Statement, *, long: bool, wording: Wording, rng: np.random.Generator
) -> str:
    """Write an expression for a statement about one object or about all that fit.

    Args:
        long: as in ``write_expression``.
    """
    scene, members = statement.scene, statement.members
    if not statement.is_about_all:
        (target,) = members
        return write_expression(
            scene, target, statement.description, long=long, wording=wording, rng=rng
        )
    phrase = _write_plural_phrase(statement, wording, rng)
    if not long:
        return phrase
    said = [getattr(constraint, "side", None) for constraint in statement.description.constraints]
    shared = [
        clause
        for clause in true_clauses(scene, members[0])
        if all(clause.holds(scene, other) is True for other in members[1:])
        and not (isinstance(clause, InHalf) and clause.side in said)
    ]
    openings = wording.long_plural_openings
    return _say_at_length(scene, phrase, _shuffle(shared, rng), openings, wording, rng)


def _write_plural_phrase(statement: Statement, wording: Wording, rng: np.random.Generator) -> str:
    """Write "all storage tanks", "the two tennis courts on the left"."""
    count, constraints = len(statement.members), statement.description.constraints
    templates: list[Words] = [wording.all_of]
    if count > 1:
        templates.append(wording.plurals)
    if count in NUMBER_WORDS:
        templates.append(wording.numbered_plurals)
    if count == 2:
        templates[-1] += wording.both
    name = name_of(statement.description.category, wording, rng)
    phrase = pick(templates[rng.integers(len(templates))], rng).format(
        object=name, objects=plural(name), count=NUMBER_WORDS.get(count)
    )
    if not constraints:
        return phrase
    (constraint,) = constraints
    if isinstance(constraint, InHalf) and rng.random() < PLAIN_HALF_SHARE:
        return f"{phrase} {wording.plain_halves[constraint.side]}"
    return f"{phrase} {_write_clause(constraint, wording, rng)}"


def _pick_size_word(rank: SizeRank, count: int, wording: Wording, rng: np.random.Generator) -> str:
    words = wording.largest if rank.largest else wording.smallest
    if count == 2:
        words += wording.larger_of_two if rank.largest else wording.smaller_of_two
    return pick(words, rng)


def _write_clause(constraint: Constraint, wording: Wording, rng: np.random.Generator) -> str:
    """Write what follows "the storage tank": a place or a relation to a landmark."""
    if isinstance(constraint, InHalf):
        return f"{rng.choice(wording.half[constraint.side])} of the image"
    if isinstance(constraint, SideOf):
        words = rng.choice(wording.side[constraint.side])
    elif isinstance(constraint, NearestTo):
        words = rng.choice(wording.nearest)
    elif isinstance(constraint, FarthestFrom):
        words = rng.choice(wording.farthest)
    else:
        raise TypeError(f"no clause is known for {constraint!r}")
    name = name_of(constraint.landmark.category, wording, rng)
    return f"{words} the {name if len(constraint.landmark.members) == 1 else plural(name)}"


def _region_name(region: InRegion) -> str:
    """ "upper left", "left", "center", ... of a cell of the 3 x 3 grid."""
    column, row = HORIZONTAL[region.column], VERTICAL[region.row]
    if (column, row) == ("center", "middle"):
        return "center"
    if column == "center":
        return {"upper": "top", "lower": "bottom"}[row]
    return column if row == "middle" else f"{row} {column}"


def _list_inventory(scene: SceneGraph, wording: Wording, rng: np.random.Generator) -> str:
    """List what is in the scene: "two tennis courts and a roundabout"."""
    parts = []
    for category in _shuffle(wording.categories, rng):
        count = len(scene.of_category(category))
        if not count or not scene.is_complete(category):
            continue
        name = name_of(category, wording, rng)
        if count == 1:
            parts.append(_fix_article(f"a {name}"))
        else:
            parts.append(f"{NUMBER_WORDS.get(count, 'many')} {plural(name)}")
    return _join(parts[:3])


def _fix_article(phrase: str) -> str:
    """ "a airplane" -> "an airplane"."""
    return "an" + phrase[1:] if phrase.startswith("a ") and phrase[2] in "aeiou" else phrase


def _join(parts: list[str]) -> str:
    """ "a", "a and b", "a , b and c"."""
    return " and ".join([" , ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _shuffle(items: Sequence, rng: np.random.Generator) -> list:
    return [items[index] for index in rng.permutation(len(items))]
