import base64
import json

import cv2
import numpy as np
import pytest
from oracle import blob
from pycocotools.coco import COCO
from review_files import EDITORS, HEIGHT, WIDTH, changed, given_out, item

from cadformer_d2.dataset_building.images import decode_mask, mask_iou
from cadformer_d2.dataset_building.outlines import paint_rings, trace_rings
from cadformer_d2.dataset_building.review import import_review
from cadformer_d2.dataset_building.review.items import ReviewImage


@pytest.mark.parametrize("tool", EDITORS)
def test_what_nobody_touched_comes_back_as_the_very_same_mask_and_is_accepted(
    tool, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    decisions = import_review(folder)
    for image in images:
        for entry in image.items:
            decision = decisions[entry.target_id]
            assert decision.verdict == "accepted"
            np.testing.assert_array_equal(decode_mask(decision.mask), decode_mask(entry.mask))


def moved_labelme(content):
    for shape in content["shapes"]:
        if shape["group_id"] == 2:
            shape["points"] = [[x + 7, y] for x, y in shape["points"]]


def moved_isat(content):
    for entry in content["objects"]:
        if entry["group"] == 2:
            entry["segmentation"] = [[x + 7, y] for x, y in entry["segmentation"]]


def moved_coco(content):
    entry = next(entry for entry in content["annotations"] if entry["id"] == 12)
    # As CVAT: a number of its own, attributes kept, a polygon instead of a mask.
    entry.update(id=2, iscrowd=0, segmentation=[[37, 20, 67, 20, 67, 50, 37, 50]])


@pytest.mark.parametrize(
    ("tool", "file", "change"),
    [
        ("labelme", "00001_a.json", moved_labelme),
        ("isat", "00001_a.json", moved_isat),
        ("coco", "instances_default.json", moved_coco),
    ],
)
def test_a_moved_outline_is_an_edited_mask_and_the_others_stay(
    tool, file, change, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    changed(folder / file, change)
    decisions = import_review(folder)
    verdicts = {key: decision.verdict for key, decision in decisions.items()}
    assert verdicts == {11: "accepted", 12: "edited", 13: "accepted"}
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[20:50, 37:67] = True
    np.testing.assert_array_equal(decode_mask(decisions[12].mask), expected)


@pytest.mark.parametrize("tool", EDITORS[:2])
@pytest.mark.parametrize("seed", range(4))
def test_edited_polygons_keep_the_rest_of_the_mask(tool, seed, source, tmp_path):
    """One corner of a ring moves a little: the rest is read from the polygons, not the mask."""
    mask = blob(seed, blur=6.0)
    images = [ReviewImage("a.jpg", 1, HEIGHT, WIDTH, (item(1, 1, mask),))]
    folder = given_out(tool, images, source, tmp_path)
    rings, points = ("shapes", "points") if tool == "labelme" else ("objects", "segmentation")

    def nudge(content):
        largest = max(content[rings], key=lambda ring: len(ring[points]))
        largest[points][0][0] += 3

    changed(folder / "00001_a.json", nudge)
    decision = import_review(folder)[1]
    assert decision.verdict == "edited"
    assert mask_iou(decode_mask(decision.mask), mask) >= 0.98


@pytest.mark.parametrize("seed", range(8))
def test_the_polygons_themselves_lose_less_than_a_hundredth(seed):
    mask = blob(seed)
    assert mask.sum() > 400
    assert mask_iou(paint_rings(trace_rings(mask), HEIGHT, WIDTH), mask) >= 0.99


@pytest.mark.parametrize(
    ("tool", "rings", "group"), [("labelme", "shapes", "group_id"), ("isat", "objects", "group")]
)
def test_a_target_without_outlines_is_rejected_and_a_removed_file_is_undecided(
    tool, rings, group, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    changed(
        folder / "00001_a.json", lambda c: c.update({rings: [r for r in c[rings] if r[group] != 2]})
    )
    (folder / "00002_b.json").unlink()
    verdicts = {key: decision.verdict for key, decision in import_review(folder).items()}
    assert verdicts == {11: "accepted", 12: "rejected"}


@pytest.mark.parametrize(
    ("tool", "rings", "group"), [("labelme", "shapes", "group_id"), ("isat", "objects", "group")]
)
def test_an_outline_of_no_target_is_an_error_that_names_it(
    tool, rings, group, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    changed(folder / "00001_a.json", lambda content: content[rings][0].update({group: 9}))
    with pytest.raises(ValueError, match=r"a\.json: \w+ 0 .* 9; this image's targets are 1, 2"):
        import_review(folder)


@pytest.mark.parametrize(
    ("tool", "file", "key", "lost"),
    [
        ("labelme", "00001_a.json", "shapes", "points"),
        ("isat", "00001_a.json", "objects", "layer"),
        ("coco", "instances_default.json", "annotations", "image_id"),
    ],
)
def test_a_damaged_label_file_is_an_error_that_names_it(
    tool, file, key, lost, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    changed(folder / file, lambda content: content[key][1].pop(lost))
    with pytest.raises(ValueError, match=rf"{file}: has no '{key}\.1\.{lost}'"):
        import_review(folder)
    changed(folder / file, lambda content: content.pop(key))
    with pytest.raises(ValueError, match=rf"{file}: has no '{key}'"):
        import_review(folder)


def test_an_outline_without_a_group_is_of_the_only_target(images, source, tmp_path):
    folder = given_out("labelme", images, source, tmp_path)
    changed(
        folder / "00002_b.json",
        lambda content: [shape.update(group_id=None) for shape in content["shapes"]],
    )
    assert import_review(folder)[13].verdict == "accepted"


def test_labelmes_masks_and_rectangles_are_read(images, source, tmp_path):
    folder = given_out("labelme", images, source, tmp_path)
    _, png = cv2.imencode(".png", np.full((10, 20), 255, np.uint8))
    drawn = {
        "label": "pool",
        "group_id": 2,
        "shape_type": "mask",
        "points": [[70, 60], [89, 69]],
        "mask": base64.b64encode(png.tobytes()).decode(),
    }
    rectangle = {
        "label": "pool",
        "group_id": 2,
        "shape_type": "rectangle",
        "points": [[70, 70], [90, 75]],
    }

    def redraw(content):
        content["shapes"] = [s for s in content["shapes"] if s["group_id"] != 2]
        content["shapes"] += [drawn, rectangle]

    changed(folder / "00001_a.json", redraw)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[60:75, 70:90] = True
    np.testing.assert_array_equal(decode_mask(import_review(folder)[12].mask), expected)


def test_pycocotools_reads_the_coco_file_as_the_same_masks(images, source, tmp_path):
    folder = given_out("coco", images, source, tmp_path)
    coco = COCO(str(folder / "instances_default.json"))
    for entry in (entry for image in images for entry in image.items):
        read = coco.annToMask(coco.anns[entry.target_id])
        np.testing.assert_array_equal(read, decode_mask(entry.mask))
    labels = json.loads((folder / "cvat_labels.json").read_text())
    assert [label["name"] for label in labels] == [cat["name"] for cat in coco.cats.values()]


def test_a_coco_mask_that_names_no_target_goes_to_the_one_it_covers_best(images, source, tmp_path):
    folder = given_out("coco", images, source, tmp_path)

    def renumbered(content):
        for number, entry in enumerate(content["annotations"], start=1):
            entry["id"] = number
            del entry["attributes"]

    changed(folder / "instances_default.json", renumbered)
    decisions = import_review(folder)
    assert {decision.verdict for decision in decisions.values()} == {"accepted"}


def test_the_page_shows_sentences_as_text_and_its_decisions_come_back(images, source, tmp_path):
    folder = given_out("html", images, source, tmp_path)
    page = (folder / "contact_sheet.html").read_text()
    assert "the tank &lt;on&gt; the left" in page and page.count("data:image/jpeg") == 6
    (folder / "decisions.json").write_text(json.dumps({"11": "accepted", "13": "rejected"}))
    decisions = import_review(folder)
    assert {key: decision.verdict for key, decision in decisions.items()} == {
        11: "accepted",
        13: "rejected",
    }
    np.testing.assert_array_equal(
        decode_mask(decisions[11].mask), decode_mask(images[0].items[0].mask)
    )


@pytest.mark.parametrize(
    ("decisions", "message"),
    [({"99": "accepted"}, "target '99' is not on this page"), ({"11": "maybe"}, "11 is 'maybe'")],
)
def test_decisions_that_cannot_be_are_refused(decisions, message, images, source, tmp_path):
    folder = given_out("html", images, source, tmp_path)
    with pytest.raises(FileNotFoundError, match="save it from contact_sheet.html"):
        import_review(folder)
    (folder / "decisions.json").write_text(json.dumps(decisions))
    with pytest.raises(ValueError, match=message):
        import_review(folder)


def test_an_annotators_work_is_not_written_over(images, source, tmp_path):
    given_out("isat", images, source, tmp_path)
    with pytest.raises(FileExistsError, match="is not empty"):
        given_out("isat", images, source, tmp_path)
