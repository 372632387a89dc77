"""Refs of synthrs to several objects and to none: what they say is true of the scene, or false."""

import hashlib
import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

from cadformer_d2.data.catalog import find_dataset
from cadformer_d2.data.class_names import RRSISHR_CLASSES
from cadformer_d2.data.grammar.statements import ABSENT, ABSENT_HARD, SEVERAL
from cadformer_d2.data.grammar.wording import plural
from cadformer_d2.data.synthetic import AnyTargets, SynthrsParameters, generate_synthrs
from cadformer_d2.data.synthetic.any_targets import describe_any_targets
from cadformer_d2.data.synthetic.expressions import build_vocabulary
from cadformer_d2.data.synthetic.scene import sample_scene
from cadformer_d2.data.tokenization import PACKAGED_FOLDER, ExpressionTokenizer

SMALL = SynthrsParameters(train=12, val=2, test=4)
ANY = replace(SMALL, any_targets=AnyTargets())
# Words for a half of the image, and whether an object at (x, y) lies there.
HALVES = {
    r"on the left|(in|on) the left (side|half) of the image": lambda o: o.x < 0.5,
    r"on the right|(in|on) the right (side|half) of the image": lambda o: o.x > 0.5,
    r"at the top|in the (upper|top) half of the image": lambda o: o.y < 0.5,
    r"at the bottom|in the (lower|bottom) half of the image": lambda o: o.y > 0.5,
}
# Words for a side of another object, and how far (x, y) lies to that side of it.
BESIDE = {
    r"(to the |on the left side |)left of|on the left side of": lambda o, m: m.x - o.x,
    r"(to the |)right of|on the right side of": lambda o, m: o.x - m.x,
    r"above|on the upper side of": lambda o, m: m.y - o.y,
    r"below|on the lower side of": lambda o, m: o.y - m.y,
}
NAMES = "|".join(RRSISHR_CLASSES)


def read(root, name):
    refs = pickle.loads((root / name / "refs(unc).p").read_bytes())
    instances = json.loads((root / name / "instances.json").read_text())
    return refs, instances


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = tmp_path_factory.mktemp("both")
    generate_synthrs(root, SMALL, processes=1)
    generate_synthrs(root, ANY, processes=1)
    return root


@pytest.fixture(scope="module")
def stated():
    """Pairs of a scene and one of its refs to several objects or to none."""
    pairs = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng)
        options = AnyTargets(several=2, absent=4)
        found = describe_any_targets(scene, [{}] * 4, options, style="short", rng=rng)
        pairs += [(scene, ref) for ref in found]
    return pairs


def of_kind(stated, *kinds):
    return [
        (scene, ref, sentence["sent"])
        for scene, ref in stated
        for sentence in ref["sentences"]
        if sentence["kind"] in kinds
    ]


def is_meant(scene, ref, sentence):
    """Whether each object of the category is meant, where halves or one landmark's sides say so.

    None if the sentence says something else.
    """
    alike = scene.of_category(ref["category"])
    rest = re.sub(rf"^(the|all|every|each|both|a)( the)?( two| three)? ({NAMES})s?\b", "", sentence)
    if not rest:
        return dict.fromkeys(alike, True)
    for pattern, lies in HALVES.items():
        if re.fullmatch(rf" ({pattern})", rest):
            return {found: lies(found) for found in alike}
    for pattern, ahead in BESIDE.items():
        if match := re.fullmatch(rf" ({pattern}) the ({NAMES})", rest):
            landmarks = scene.of_category(match[match.lastindex])
            return {
                found: bool(landmarks) and all(ahead(found, mark) > 0 for mark in landmarks)
                for found in alike
            }
    return None


def test_what_asks_for_several_means_all_that_fit_and_nothing_else(stated):
    checked = 0
    for scene, ref, sentence in of_kind(stated, SEVERAL):
        found = [scene.objects[index] for index in ref["objects"]]
        assert len(found) > 1 and {o.category for o in found} == {ref["category"]}
        for number, word in ((2, "two"), (2, "both"), (3, "three")):
            assert word not in sentence.split() or len(found) == number, sentence
        meant = is_meant(scene, ref, sentence)
        assert meant is not None, sentence
        assert {o for o, is_it in meant.items() if is_it} == set(found), sentence
        checked += 1
    assert checked > 200


def test_what_asks_for_all_may_mean_one(stated):
    alone = [(s, r, t) for s, r, t in of_kind(stated, "category") if len(r["objects"]) == 1]
    assert len(alone) > 20
    for scene, ref, sentence in alone:
        assert re.match("all|every|each", sentence)
        assert len(scene.of_category(ref["category"])) == 1


def test_what_is_absent_is_of_no_category_of_the_scene(stated):
    found = of_kind(stated, ABSENT)
    assert len(found) > 200
    for scene, ref, sentence in found:
        assert ref["objects"] == [] and scene.of_category(ref["category"]) == []
        assert ref["category"] in sentence or plural(ref["category"]) in sentence


def test_hard_negatives_are_false_of_every_object_of_a_category_that_is_there(stated):
    found = of_kind(stated, ABSENT_HARD)
    by_place = without_landmark = 0
    for scene, ref, sentence in found:
        assert ref["objects"] == [] and scene.of_category(ref["category"])
        meant = is_meant(scene, ref, sentence)
        others = set(re.findall(NAMES, sentence)) - {ref["category"]}
        if others and not any(scene.of_category(name) for name in others):
            without_landmark += 1
        elif meant is not None:
            assert not any(meant.values()), sentence
            by_place += 1
    assert by_place > 100 and without_landmark > 20


def test_a_third_of_what_is_not_there_or_more_is_hard(stated):
    hard = [ref for _, ref in stated if ref["sentences"][0]["kind"] == ABSENT_HARD]
    easy = [ref for _, ref in stated if ref["sentences"][0]["kind"] == ABSENT]
    assert len(hard) >= (len(hard) + len(easy)) / 3


def test_false_sentences_have_the_words_of_true_ones(both):
    refs, _ = read(both, "gsynthrs")
    words = {True: set(), False: set()}
    for ref in refs:
        for sentence in ref["sentences"]:
            words[ref["no_target"]] |= set(sentence["tokens"])
    assert len(words[True] & words[False]) > 40
    assert not any(re.match("no|not|none|without", word) for word in words[True])


def test_scenes_and_refs_to_one_target_are_those_of_synthrs(both):
    texts = {}
    for name in ("synthrs", "gsynthrs"):
        refs, instances = read(both, name)
        boxes = {a["id"]: a["bbox"] for a in instances["annotations"]}
        texts[name] = {
            (ref["file_name"], sentence["sent"], *boxes[ids[0]])
            for ref in refs
            if (ids := np.atleast_1d(ref["ann_id"]).tolist()) != [-1] and len(ids) == 1
            for sentence in ref["sentences"]
        }
    assert texts["synthrs"] < texts["gsynthrs"]
    folders = [both / "images" / name / "JPEGImages" for name in texts]
    one, other = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert one == other


def test_the_default_words_and_stamp_stay_as_they_were(both):
    refs, _ = read(both, "synthrs")
    texts = "\n".join(sentence["sent"] for ref in refs for sentence in ref["sentences"])
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "316db831f8355c69"
    stamp = json.loads((both / "synthrs" / "parameters.json").read_text())
    assert "any_targets" not in stamp
    stamp = json.loads((both / "gsynthrs" / "parameters.json").read_text())
    assert stamp["any_targets"] == {"several": 1, "absent": 2, "hard_share": 0.4}


def test_the_seed_alone_decides_refs_to_any_number_of_targets(both, tmp_path):
    generate_synthrs(tmp_path, ANY, processes=2)
    name = "refs(unc).p"
    assert (tmp_path / "gsynthrs" / name).read_bytes() == (both / "gsynthrs" / name).read_bytes()


def test_the_project_reads_them(both):
    records = find_dataset("gsynthrs", both).load(both, "train", False)
    numbers = [len(record["annotations"]) for record in records]
    assert {0, 1, 2} <= set(numbers)
    for record in records:
        kinds = set(record["sentence_kinds"])
        assert (len(record["annotations"]) > 1) == (kinds == {SEVERAL})
        assert (not record["annotations"]) == (kinds <= {ABSENT, ABSENT_HARD})
        assert 0 <= record["category_id"] < len(RRSISHR_CLASSES)


def test_its_vocabulary_adds_to_that_of_synthrs_and_spells_every_word(both):
    words = (PACKAGED_FOLDER / "gsynthrs.txt").read_text().split("\n")[:-1]
    assert words == build_vocabulary(any_targets=True)
    assert words[: len(build_vocabulary())] == build_vocabulary()
    tokenizer = ExpressionTokenizer(vocabulary="gsynthrs", max_tokens=64)
    for ref in read(both, "gsynthrs")[0]:
        for sentence in ref["sentences"]:
            pieces = tokenizer.spell(tokenizer(sentence["sent"]))
            assert not any(piece.startswith("##") or piece == "[UNK]" for piece in pieces)


def test_long_sentences_are_no_longer_than_those_of_rrsis_hr():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng)
        for ref in describe_any_targets(scene, [{}], AnyTargets(), style="long", rng=rng):
            for sentence in ref["sentences"]:
                assert 5 <= len(sentence["sent"].replace(",", "").split()) <= 41


@pytest.mark.parametrize("wrong", [{"several": -1}, {"absent": -1}, {"hard_share": 1.5}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="expected numbers of at least 0 and a share"):
        AnyTargets(**wrong)
