"""Refs to several objects of an observed scene, or to none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ...data.grammar.any_targets import (
    AnyTargets,
    Imagination,
    choose_several,
    choose_statements,
    draw_absent,
)
from ...data.grammar.constraints import Constraint
from ...data.grammar.descriptions import (
    LARGEST_GROUP,
    choose_by_kind,
    propose_group_relations,
    propose_relations,
)
from ...data.grammar.phrasing import write_statement
from ...data.grammar.scene_graph import GraphObject
from ...data.grammar.statements import (
    ABSENT,
    ABSENT_HARD,
    Statement,
    is_denied,
    state_about_all,
)
from ...data.grammar.wording import Wording
from ..triplets import stable_id
from .evidence import Evidence
from .expressions import PROPOSERS, SynthesisOptions, WrittenExpression
from .observed import ObservedObject, ObservedScene


@dataclass(frozen=True)
class DescribedGroup:
    """The expressions that mean the same objects of a scene: none, one or several."""

    scene: ObservedScene
    category: str
    members: tuple[ObservedObject, ...]
    expressions: tuple[WrittenExpression, ...]


def describe_any_targets(
    scenes: Iterable[ObservedScene],
    singles: Mapping[str, int],
    any_targets: AnyTargets,
    *,
    wording: Wording,
    options: SynthesisOptions,
) -> list[DescribedGroup]:
    """Refs to several objects and to none.

    Of a category that is not labelled in full, neither "all" nor "none" is said. What is written
    about an image also depends on the other images, whose objects are imagined in it.

    Args:
        singles: refs to single objects, by the name of the scene's file.
        options: of the expressions; their number and seed.
    """
    scenes = list(scenes)
    donors: dict[str, list[Sequence[ObservedObject]]] = {}
    for scene in scenes:
        for category in dict.fromkeys(found.category for found in scene.objects):
            if scene.is_complete(category):
                donors.setdefault(category, []).append(scene.of_category(category))
    described: list[DescribedGroup] = []
    for scene in scenes:
        rng = np.random.default_rng(stable_id(options.seed, scene.file_name, "any targets"))
        writer = _SceneWriter(Evidence(scene), donors, wording, options, rng)
        # Many scenes have no plainly false place; the others make up for them.
        share = any_targets.hard_share
        wanted = replace(any_targets, hard_share=1.0 if _hard_share(described) < share else share)
        described += writer.describe(wanted, singles.get(scene.file_name, 0))
    return described


def _hard_share(described: Sequence[DescribedGroup]) -> float:
    """Of the expressions that mean nothing, the share that is hard."""
    kinds = [expression.kind for group in described for expression in group.expressions]
    return kinds.count(ABSENT_HARD) / max(1, kinds.count(ABSENT_HARD) + kinds.count(ABSENT))


@dataclass(frozen=True)
class _SceneWriter:
    """Writes the refs of one scene."""

    evidence: Evidence
    donors: Mapping[str, Sequence[Sequence[ObservedObject]]]  # objects of a category, by scene
    wording: Wording
    options: SynthesisOptions
    rng: np.random.Generator

    @property
    def scene(self) -> ObservedScene:
        return self.evidence.scene

    def describe(self, any_targets: AnyTargets, num_singles: int) -> list[DescribedGroup]:
        present = dict.fromkeys(found.category for found in self.scene.objects)
        known = [name for name in present if self.scene.is_complete(name)]
        stated = [
            statement
            for category in known
            for statement in state_about_all(self.scene, category, most_members=LARGEST_GROUP)
            if self._can_be_seen(statement) and self.evidence.supports_all(statement)
        ]
        several = choose_several(stated, any_targets.several, self.rng)
        described = [self._write(about_some) for about_some in several]
        imagination = Imagination(
            scene=self.scene,
            present=known,
            absent=[name for name in sorted(self.donors) if self.scene.is_absent(name)],
            imagine=self._imagine,
            proposers=PROPOSERS,
            relations=(propose_relations, propose_group_relations),
            most_members=LARGEST_GROUP,
            deny=self._deny,
        )
        share = len(described) / max(1, len(described) + num_singles)
        drawn = draw_absent(imagination, any_targets, about_all_share=share, rng=self.rng)
        for is_hard, stated in drawn:
            described.append(self._write(stated, kind=ABSENT_HARD if is_hard else ABSENT))
        return described

    def _can_be_seen(self, statement: Statement) -> bool:
        return min(member.area for member in statement.members) >= self.options.least_area

    def _deny(self, constraint: Constraint, candidate: GraphObject) -> bool:
        found = cast(ObservedObject, candidate)
        return is_denied(constraint, found) and self.evidence.denies(constraint, found)

    def _imagine(self, category: str, is_alone: bool) -> Sequence[ObservedObject]:
        others = self.donors.get(category, ())
        fitting = [found for found in others if (len(found) == 1) == is_alone] or others
        return fitting[int(self.rng.integers(len(fitting)))] if fitting else ()

    def _write(self, stated: Sequence[Statement], *, kind: str = "") -> DescribedGroup:
        """
        Args:
            stated: about the same objects, at least one.
            kind: of statements that mean nothing in the scene; otherwise each has its own.
        """
        written: dict[str, WrittenExpression] = {}
        for statement in choose_statements(stated, self.rng, choose=choose_by_kind):
            is_long = bool(self.rng.random() < self.options.long_share)
            text = write_statement(statement, long=is_long, wording=self.wording, rng=self.rng)
            written.setdefault(text, WrittenExpression(text, kind or statement.kind))
        members = () if kind else cast(tuple[ObservedObject, ...], stated[0].members)
        category = stated[0].description.category
        return DescribedGroup(self.scene, category, members, tuple(written.values()))
