"""Refs of synthrs to several objects of a scene, or to none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ..class_names import RRSISHR_CLASSES
from ..grammar.any_targets import (
    AnyTargets,
    Imagination,
    choose_several,
    choose_statements,
    draw_absent,
)
from ..grammar.descriptions import propose_relations
from ..grammar.phrasing import write_statement
from ..grammar.statements import ABSENT, ABSENT_HARD, Statement, is_denied, state_about_all
from .expressions import PROPOSERS, WORDING, choose_kinds
from .scene import DrawnScene, SceneObject, place_objects, sample_copies


def describe_any_targets(
    scene: DrawnScene,
    described: Sequence[dict[str, Any]],
    options: AnyTargets,
    *,
    style: str,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Refs to several objects and to none.

    Args:
        described: the refs to single objects.
        style: of the expressions: short, long or mixed.

    Returns:
        positions of the targets in the scene (none, one or several), category and sentences.
    """

    def imagine(category: str, is_alone: bool) -> list[SceneObject]:
        return place_objects([category] * (1 if is_alone else sample_copies(category, rng)), rng)

    present = list(dict.fromkeys(found.category for found in scene.objects))
    stated = [
        statement
        for category in present
        for statement in state_about_all(scene, category, most_members=1)
    ]
    several = choose_several(stated, options.several, rng)
    found = [_make_ref(scene, about_some, style, rng) for about_some in several]
    imagination = Imagination(
        scene=scene,
        present=sorted(present),
        absent=[name for name in RRSISHR_CLASSES if name not in present],
        imagine=imagine,
        proposers=PROPOSERS,
        relations=(propose_relations,),
        most_members=1,
        deny=is_denied,
    )
    share = len(found) / (len(found) + len(described))
    for is_hard, stated in draw_absent(imagination, options, about_all_share=share, rng=rng):
        kind = ABSENT_HARD if is_hard else ABSENT
        found.append(_make_ref(scene, stated, style, rng, kind=kind))
    return found


def _make_ref(
    scene: DrawnScene,
    stated: Sequence[Statement],
    style: str,
    rng: np.random.Generator,
    *,
    kind: str = "",
) -> dict[str, Any]:
    """
    Args:
        stated: about the same objects, at least one.
        kind: of statements that mean nothing in the scene; otherwise each has its own.
    """
    sentences = []
    for statement in choose_statements(stated, rng, choose=choose_kinds):
        is_long = style == "long" or (style == "mixed" and rng.random() < 0.5)
        text = write_statement(statement, long=is_long, wording=WORDING, rng=rng)
        sentences.append({"sent": text, "kind": kind or statement.kind})
    members = () if kind else cast(tuple[SceneObject, ...], stated[0].members)
    return {
        "objects": [scene.objects.index(member) for member in members],
        "category": stated[0].description.category,
        "sentences": sentences,
    }
