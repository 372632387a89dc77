"""From synthrs's boxes and sentences to a dataset that trains, and back from a kill."""

import json
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
from oracle import OracleSegmenter, WholeBoxSegmenter
from pycocotools import mask as coco_mask
from tiny_sam import save_tiny_sam

from cadformer_d2.data.catalog import find_dataset, register_datasets
from cadformer_d2.data.queries import query_every_expression
from cadformer_d2.data.synthetic import SynthrsParameters, generate_synthrs
from cadformer_d2.dataset_building import steps
from cadformer_d2.dataset_building.images import decode_mask, mask_iou, read_rgb
from cadformer_d2.dataset_building.judging import judge_workspace
from cadformer_d2.dataset_building.mask_building import build_masks
from cadformer_d2.dataset_building.quality import DEFAULT_LIMITS, read_limits
from cadformer_d2.dataset_building.segmenters.grabcut import GrabCutSegmenter
from cadformer_d2.dataset_building.segmenters.sam import SamSegmenter
from cadformer_d2.dataset_building.workspace import Workspace

WRITING = {
    "limits": DEFAULT_LIMITS,
    "undecided": "refuse",
    "split_shares": None,
    "seed": 0,
    "allow_leakage": False,
}

EXPORTING = {
    "limits": DEFAULT_LIMITS,
    "everything": False,
    "disputes": False,
    "undecided_by": None,
    "most": None,
}


@pytest.fixture(scope="module")
def synthrs(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthrs")
    generate_synthrs(root, SynthrsParameters(train=12, val=3, test=3), processes=1)
    return root


def read(synthrs, work):
    steps.read_source(
        work=work,
        source_format="refer",
        split=[],
        annotations=synthrs / "synthrs",
        images=synthrs / "images" / "synthrs" / "JPEGImages",
        image_size=None,
    )
    return Workspace(work)


def oracle(synthrs):
    instances = json.loads((synthrs / "synthrs" / "instances.json").read_text())
    return OracleSegmenter(synthrs / "images" / "synthrs" / "JPEGImages", instances)


def write(work, root, name="mydata", **changes):
    return steps.write_dataset(work=work, name=name, root=root, **(WRITING | changes))


def export(work, tool, output, **changes):
    steps.export_masks(work=work, tool=tool, output=output, **(EXPORTING | changes))


def files_of(root, name="mydata"):
    refs = pickle.loads((root / name / "refs(unc).p").read_bytes())
    instances = json.loads((root / name / "instances.json").read_text())
    return refs, instances


def by_target(root, name, split):
    """Mask and sentences of every target, by image and box."""
    records = find_dataset(name, root).load(root, split, False)
    return {
        (os.path.basename(record["file_name"]), tuple(record["annotations"][0]["bbox"])): (
            coco_mask.decode(record["annotations"][0]["segmentation"]),
            sorted(record["expressions"]),
        )
        for record in records
    }


def test_with_an_oracle_the_built_dataset_is_the_one_its_boxes_came_from(synthrs, tmp_path):
    work, root = tmp_path / "work", tmp_path / "root"
    build_masks(read(synthrs, work), oracle(synthrs))
    # Two targets with one box would share a mask; this seed has none.
    write(work, root, undecided="keep")
    for split in ("train", "val", "test"):
        built = by_target(root, "mydata", split)
        known = by_target(synthrs, "synthrs", split)
        assert built.keys() == known.keys()
        for key, (mask, sentences) in known.items():
            np.testing.assert_array_equal(built[key][0], mask)
            assert built[key][1] == sentences


def test_the_built_dataset_is_registered_under_its_own_name(synthrs, tmp_path):
    work, root = tmp_path / "work", tmp_path / "root"
    build_masks(read(synthrs, work), oracle(synthrs))
    write(work, root, undecided="keep")
    assert "mydata_train_sentences" in register_datasets(root)
    info = find_dataset("mydata", root)
    records = {split: info.load(root, split, False) for split in ("train", "val", "test")}
    assert info.published_counts == {split: len(found) for split, found in records.items()}
    refs, instances = files_of(root)
    assert list(info.classes) == [category["name"] for category in instances["categories"]]
    assert len(query_every_expression(records["test"])) == sum(
        len(ref["sentences"]) for ref in refs if ref["split"] == "test"
    )


def test_a_small_sams_masks_are_judged_reviewed_and_written(synthrs, tmp_path):
    work, root = tmp_path / "work", tmp_path / "root"
    folder = save_tiny_sam(tmp_path / "sam")
    workspace = read(synthrs, work)
    build_masks(workspace, SamSegmenter(name=folder))
    with pytest.raises(ValueError, match="targets are undecided: doubtful masks without a review"):
        write(work, root)
    export(work, "coco", tmp_path / "review")
    steps.import_answers(work=work, review=tmp_path / "review", annotator="anna")
    report = write(work, root)
    assert "sam" in report
    refs, instances = files_of(root)
    provenance = instances["annotations"][0]["provenance"]
    assert (provenance["made_by"], provenance["annotators"]) == ("sam", ["anna"])
    record = json.loads((root / "mydata" / "build.json").read_text())
    assert record["segmenter"]["model_type"] == "sam" and "transformers" in record["segmenter"]
    assert record["limits"]["least_stability"] == 0.9
    targets = {target.target_id: target for target in workspace.targets()}
    for ref in refs:
        assert set(targets[ref["ref_id"]].sentences) == {s["sent"] for s in ref["sentences"]}


def test_edited_masks_and_consensus_are_written_with_their_makers(synthrs, tmp_path):
    work, root = tmp_path / "work", tmp_path / "root"
    workspace = read(synthrs, work)
    build_masks(workspace, oracle(synthrs))
    truth = workspace.read_all_masks()
    for annotator, shift in (("anna", 4), ("ben", 4), ("cleo", 5)):
        folder = tmp_path / annotator
        export(work, "labelme", folder, everything=True)
        move_first_target(folder, shift)
        steps.import_answers(work=work, review=folder, annotator=annotator)
    assert "cleo" in steps.compare_annotators(work=work, limits=DEFAULT_LIMITS)
    write(work, root, undecided="keep")
    _, instances = files_of(root)
    made_by = {entry["id"]: entry["provenance"]["made_by"] for entry in instances["annotations"]}
    (moved,) = [key for key, maker in made_by.items() if maker == "consensus"]
    assert set(made_by.values()) == {"consensus", "oracle"}
    written = next(a for a in instances["annotations"] if a["id"] == moved)["segmentation"][0]
    expected = np.roll(decode_mask(truth[moved].mask), 4, axis=1)
    assert mask_iou(decode_mask(written), expected) > 0.9


def test_a_review_can_be_given_out_in_parts_the_worst_first(synthrs, tmp_path):
    work = tmp_path / "work"
    workspace = read(synthrs, work)
    build_masks(workspace, GrabCutSegmenter())
    worst = judge_workspace(workspace, read_limits())
    ids = [entry.target.target_id for entry in worst if entry.verdict.is_doubtful]
    for part, name in enumerate(("first", "second")):
        export(work, "isat", tmp_path / name, undecided_by="anna", most=5)
        steps.import_answers(work=work, review=tmp_path / name, annotator="anna")
        assert set(workspace.read_decisions()["anna"]) == set(ids[: 5 * (part + 1)])


def move_first_target(folder, shift):
    path = min(path for path in folder.glob("*.json") if path.name != "review.json")
    content = json.loads(path.read_text())
    for shape in content["shapes"]:
        if shape["group_id"] == 1:
            shape["points"] = [[x + shift, y] for x, y in shape["points"]]
    path.write_text(json.dumps(content))


class DyingSegmenter(GrabCutSegmenter):
    """Is killed, as by the system, before it answers for the n-th image."""

    def __init__(self, images_left):
        self.images_left = images_left

    def segment(self, image, boxes):
        if self.images_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.images_left -= 1
        return super().segment(image, boxes)


def die_while_writing(work, writes_left):
    """Segment until a file is written but not yet renamed, then be killed."""
    rename = os.replace

    def replace(*names):
        nonlocal writes_left
        if writes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        writes_left -= 1
        rename(*names)

    os.replace = replace  # in this process alone
    build_masks(Workspace(work), GrabCutSegmenter())


def die_while_segmenting(work, images_left):
    build_masks(Workspace(work), DyingSegmenter(images_left))


def mask_files(work):
    return {path.name: path.read_bytes() for path in (work / "masks").glob("[!.]*.json")}


def test_killed_at_three_random_points_a_resumed_run_ends_as_an_undisturbed_one(synthrs, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    build_masks(read(synthrs, undisturbed), GrabCutSegmenter())
    workspace = read(synthrs, killed)
    rng = np.random.default_rng(0)
    fork = multiprocessing.get_context("fork")
    for die in (die_while_segmenting, die_while_writing, die_while_segmenting):
        process = fork.Process(target=die, args=(killed, int(rng.integers(1, 6))))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    done = len(mask_files(killed))
    assert 3 <= done < 18
    assert build_masks(workspace, GrabCutSegmenter()) == 18 - done
    assert mask_files(killed) == mask_files(undisturbed)
    assert build_masks(workspace, GrabCutSegmenter()) == 0


def test_masks_of_two_segmenters_are_not_mixed(synthrs, tmp_path):
    workspace = read(synthrs, tmp_path / "work")
    build_masks(workspace, oracle(synthrs))
    with pytest.raises(ValueError, match="are from {'name': 'oracle'}, not {'name': 'grabcut'"):
        build_masks(workspace, GrabCutSegmenter())


def test_ids_do_not_change_when_other_targets_come_or_go(synthrs, tmp_path):
    work = tmp_path / "work"
    workspace = read(synthrs, work)
    build_masks(workspace, oracle(synthrs))
    write(work, tmp_path / "all", undecided="keep")
    fewer = tmp_path / "fewer"
    images = synthrs / "images" / "synthrs" / "JPEGImages"
    Workspace(fewer).write_triplets(workspace.read_triplets()[10:], images)
    build_masks(Workspace(fewer), oracle(synthrs))
    write(fewer, tmp_path / "few", undecided="keep")
    whole = {ref["ref_id"]: ref for ref in files_of(tmp_path / "all")[0]}
    part = files_of(tmp_path / "few")[0]
    assert 0 < len(part) < len(whole)
    for ref in part:
        known = whole[ref["ref_id"]]
        assert (ref["image_id"], ref["file_name"]) == (known["image_id"], known["file_name"])
        assert set(ref["sent_ids"]) <= set(known["sent_ids"])


def leaking_workspace(synthrs, work, *, by_content):
    """A workspace with one image's targets in a second split, under its name or a copy's."""
    folder = work.parent / "images"
    original = synthrs / "images" / "synthrs" / "JPEGImages" / "train_00000.jpg"
    folder.mkdir()
    names = ("one.jpg", "two.jpg" if by_content else "one.jpg")
    entries = []
    for name, split in zip(names, ("train", "test"), strict=True):
        (folder / name).write_bytes(original.read_bytes())
        entries.append(
            {
                "id": len(entries),
                "image_id": name,
                "bbox": [20, 20, 30, 30],
                "caption": "a thing",
                "split": split,
            }
        )
    for name, entry in zip(names, entries, strict=True):
        images = [{"id": name, "file_name": name}]
        content = {"images": images, "annotations": [entry]}
        (work.parent / f"{entry['split']}.json").write_text(json.dumps(content))
    steps.read_source(
        work=work,
        source_format="coco",
        split=[(split, work.parent / f"{split}.json") for split in ("train", "test")],
        annotations=None,
        images=folder,
        image_size=None,
    )
    build_masks(Workspace(work), WholeBoxSegmenter())


@pytest.mark.parametrize("by_content", [False, True], ids=["one name", "copied file"])
def test_leakage_is_refused_unless_asked_for_and_a_new_split_ends_it(by_content, synthrs, tmp_path):
    work = tmp_path / "work"
    leaking_workspace(synthrs, work, by_content=by_content)
    with pytest.raises(ValueError, match=r"1 images are in several splits.*one\.jpg"):
        write(work, tmp_path / "root", undecided="keep")
    assert not (tmp_path / "root" / "mydata").exists()
    write(work, tmp_path / "root", undecided="keep", allow_leakage=True)
    assert {ref["split"] for ref in files_of(tmp_path / "root")[0]} == {"train", "test"}
    shares = [0.5, 0.25, 0.25]
    write(work, tmp_path / "anew", undecided="keep", split_shares=shares)
    assert len({ref["split"] for ref in files_of(tmp_path / "anew")[0]}) == 1


def test_a_known_datasets_name_is_refused_and_nothing_is_written_over(synthrs, tmp_path):
    work, root = tmp_path / "work", tmp_path / "root"
    build_masks(read(synthrs, work), oracle(synthrs))
    with pytest.raises(ValueError, match="synthrs is one of the project's own"):
        write(work, root, name="synthrs", undecided="keep")
    write(work, root, undecided="keep")
    with pytest.raises(FileExistsError, match="choose another name"):
        write(work, root, undecided="keep")


def test_an_image_that_cannot_be_read_is_named(synthrs, tmp_path):
    whole = synthrs / "images" / "synthrs" / "JPEGImages" / "train_00000.jpg"
    for name, content in (("text.jpg", b"no image"), ("cut.jpg", whole.read_bytes()[:900])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):
            read_rgb(tmp_path / name)


def test_boxes_can_be_read_again_without_losing_masks(synthrs, tmp_path):
    workspace = read(synthrs, tmp_path / "work")
    build_masks(workspace, oracle(synthrs))
    assert build_masks(read(synthrs, tmp_path / "work"), oracle(synthrs)) == 0
