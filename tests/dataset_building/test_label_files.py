"""Label files as tools and people leave them: other sizes, points outside, odd shapes, damage."""

import base64
import json
import re

import cv2
import numpy as np
import pytest
import shapely
from review_files import EDITORS, HEIGHT, WIDTH, changed, given_out, item

from cadformer_d2.dataset_building.images import decode_mask, mask_iou
from cadformer_d2.dataset_building.review import import_review
from cadformer_d2.dataset_building.review.coco import rotate_box
from cadformer_d2.dataset_building.review.items import ReviewImage

SIZES = {
    "labelme": ("00001_a.json", lambda content: content, "imageHeight", "imageWidth"),
    "isat": ("00001_a.json", lambda content: content["info"], "height", "width"),
    "coco": ("instances_default.json", lambda content: content["images"][0], "height", "width"),
}


@pytest.mark.parametrize("tool", SIZES)
def test_labels_drawn_on_a_resized_copy_are_refused_with_both_sizes(tool, images, source, tmp_path):
    folder = given_out(tool, images, source, tmp_path)
    file, where, height, width = SIZES[tool]
    halved = {height: HEIGHT // 2, width: WIDTH // 2}
    changed(folder / file, lambda content: where(content).update(halved))
    with pytest.raises(ValueError, match=rf"{file}: drawn on an image of 45 x 60 .* has 90 x 120"):
        import_review(folder)
    changed(folder / file, lambda content: where(content).pop(width))
    with pytest.raises(ValueError, match=rf"{file}: drawn on an image of 45 x 120"):
        import_review(folder)


def only_outline(tool, points):
    """Makes these points the only outline of target 12."""

    def change(content):
        if tool == "labelme":
            kept = [shape for shape in content["shapes"] if shape["group_id"] != 2]
            shape = {"label": "pool", "group_id": 2, "shape_type": "polygon", "points": points}
            content["shapes"] = [*kept, shape]
        elif tool == "isat":
            kept = [entry for entry in content["objects"] if entry["group"] != 2]
            entry = {"category": "pool", "group": 2, "layer": 1, "segmentation": points}
            content["objects"] = [*kept, entry]
        else:
            (entry,) = (entry for entry in content["annotations"] if entry["id"] == 12)
            flat = [number for point in points for number in point]
            entry.update(segmentation=[flat], iscrowd=0)

    return change


def label_file(tool, folder):
    return folder / ("instances_default.json" if tool == "coco" else "00001_a.json")


@pytest.mark.parametrize("tool", EDITORS)
def test_of_a_polygon_past_the_border_the_part_inside_is_taken(tool, images, source, tmp_path):
    folder = given_out(tool, images, source, tmp_path)
    triangle = [(-60.3, 30.1), (60.2, 10.1), (60.2, 70.3)]
    changed(label_file(tool, folder), only_outline(tool, triangle))
    mask = decode_mask(import_review(folder)[12].mask)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    exact = shapely.contains_xy(shapely.Polygon(triangle), x, y)
    np.testing.assert_array_equal(mask, exact)


@pytest.mark.parametrize("tool", EDITORS)
def test_an_outline_wholly_past_the_border_is_a_slip_and_no_rejection(
    tool, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    outside = [(-60.0, 30.0), (-10.0, 10.0), (-10.0, 70.0)]
    changed(label_file(tool, folder), only_outline(tool, outside))
    file = label_file(tool, folder).name
    with pytest.raises(ValueError, match=rf"{file}: .* target 2 covers no pixel of the image"):
        import_review(folder)


@pytest.mark.parametrize("coordinate", [float("nan"), float("inf"), 2e8, None, "left"])
@pytest.mark.parametrize("tool", EDITORS)
def test_a_point_that_lies_nowhere_is_an_error_that_names_the_file(
    tool, coordinate, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    points = [(coordinate, 10.0), (60.0, 10.0), (60.0, 50.0)]
    changed(label_file(tool, folder), only_outline(tool, points))
    with pytest.raises(ValueError, match=re.escape(label_file(tool, folder).name)):
        import_review(folder)


def test_a_labelme_mask_past_the_border_gives_its_part_inside(images, source, tmp_path):
    folder = given_out("labelme", images, source, tmp_path)
    part = np.zeros((30, 40), np.uint8)
    part[:, 5:] = 255
    _, png = cv2.imencode(".png", part)
    shape = {"label": "pool", "group_id": 2, "shape_type": "mask", "points": [[-10, 75], [29, 104]]}
    shape["mask"] = base64.b64encode(png.tobytes()).decode()

    def redraw(content):
        content["shapes"] = [s for s in content["shapes"] if s["group_id"] != 2] + [shape]

    changed(folder / "00001_a.json", redraw)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[75:90, :30] = True
    np.testing.assert_array_equal(decode_mask(import_review(folder)[12].mask), expected)


SHAPES = {
    "line": ({"shape_type": "line", "points": [[1, 2], [30, 40]]}, "is a line of 2 points"),
    "hole": ({"shape_type": "mask", "label": "hole"}, "is a hole drawn as a mask"),
    "two corners": ({"shape_type": "polygon", "points": [[1, 2], [3, 4]]}, "polygon of 2 points"),
    "no PNG": ({"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "AAAA"}, "not an image"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_a_shape_that_encloses_nothing_is_named(kind, images, source, tmp_path):
    folder = given_out("labelme", images, source, tmp_path)
    shape, message = SHAPES[kind]
    changed(folder / "00001_a.json", lambda content: content["shapes"][0].update(shape))
    with pytest.raises(ValueError, match=rf"a\.json: .*{message}"):
        import_review(folder)


def test_shapes_of_the_first_labelme_which_say_no_kind_are_polygons(images, source, tmp_path):
    folder = given_out("labelme", images, source, tmp_path)
    changed(folder / "00001_a.json", lambda content: content["shapes"][0].pop("shape_type"))
    changed(folder / "00001_a.json", lambda content: content["shapes"][-1].update(shape_type=None))
    assert {decision.verdict for decision in import_review(folder).values()} == {"accepted"}


def test_a_circle_of_labelme_is_its_disc(images, source, tmp_path):
    folder = given_out("labelme", images, source, tmp_path)

    def redraw(content):
        kept = [shape for shape in content["shapes"] if shape["group_id"] != 2]
        points = [[60, 45], [60, 65]]
        shape = {"label": "pool", "group_id": 2, "shape_type": "circle", "points": points}
        content["shapes"] = [*kept, shape]

    changed(folder / "00001_a.json", redraw)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    mask = decode_mask(import_review(folder)[12].mask)
    assert mask_iou(mask, np.hypot(x - 60, y - 45) <= 20) > 0.97


@pytest.mark.parametrize(
    ("attributes", "rows", "columns"),
    [({}, (20, 30), (10, 40)), ({"rotation": 0.0}, (20, 30), (10, 40)),
     ({"rotation": 90.0}, (10, 40), (20, 30))],
)  # fmt: skip
def test_a_rectangle_of_cvat_is_its_box_as_it_was_turned(
    attributes, rows, columns, images, source, tmp_path
):
    folder = given_out("coco", images, source, tmp_path)

    def redraw(content):
        (entry,) = (entry for entry in content["annotations"] if entry["id"] == 12)
        entry["attributes"].update(attributes)
        entry.update(segmentation=[], bbox=[10.0, 20.0, 30.0, 10.0], iscrowd=0)

    changed(folder / "instances_default.json", redraw)
    decision = import_review(folder)[12]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[slice(*rows), slice(*columns)] = True
    assert decision.verdict == "edited"
    np.testing.assert_array_equal(decode_mask(decision.mask), expected)


def test_plain_run_lengths_and_fields_of_null_are_read(images, source, tmp_path):
    folder = given_out("coco", images, source, tmp_path)
    # Columns 30 to 59, rows 20 to 49 of 90: what the target has already.
    counts = [30 * HEIGHT + 20, *[30, HEIGHT - 30] * 29, 30, 60 * HEIGHT + HEIGHT - 50]

    def redraw(content):
        content["images"][0].update(height=None, width=None)
        (entry,) = (entry for entry in content["annotations"] if entry["id"] == 12)
        entry.update(bbox=None, attributes=None, area=None)
        entry["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}

    changed(folder / "instances_default.json", redraw)
    assert import_review(folder)[12].verdict == "accepted"


def test_an_annotation_of_another_image_is_named(images, source, tmp_path):
    folder = given_out("coco", images, source, tmp_path)
    changed(
        folder / "instances_default.json",
        lambda content: content["annotations"][0].update(image_id=7),
    )
    with pytest.raises(
        ValueError, match=r"default\.json: annotation 11 is of image 7, which was not"
    ):
        import_review(folder)


@pytest.mark.parametrize("change", [{"id": 1, "attributes": {"target": "13"}}, {"id": 13}])
def test_an_annotation_is_not_taken_for_a_target_of_another_image(change, images, source, tmp_path):
    folder = given_out("coco", images, source, tmp_path)

    def move(content):
        (entry,) = (entry for entry in content["annotations"] if entry["id"] == 13)
        entry.update(image_id=1, attributes=None)
        entry.update(change)

    changed(folder / "instances_default.json", move)
    with pytest.raises(ValueError, match=r"default\.json: .* of a\.jpg names target 13 of another"):
        import_review(folder)


def test_a_mask_without_pixels_that_nobody_touched_is_rejected(source, tmp_path):
    nothing = item(14, 1, np.zeros((HEIGHT, WIDTH), bool))
    for tool in EDITORS:
        folder = given_out(
            tool, [ReviewImage("a.jpg", 1, HEIGHT, WIDTH, (nothing,))], source, tmp_path
        )
        assert import_review(folder)[14].verdict == "rejected"


def test_cvat_turns_a_rectangle_clockwise():
    x1, y1, x2, y2, *_ = rotate_box((10, 20, 30, 10), 30)
    assert x2 - x1 == pytest.approx(30 * np.cos(np.pi / 6))
    assert y2 - y1 == pytest.approx(15)  # its upper edge runs down to the right


def test_two_images_of_one_id_are_refused(images, source, tmp_path):
    folder = given_out("coco", images, source, tmp_path)
    changed(folder / "instances_default.json", lambda content: content["images"][1].update(id=1))
    with pytest.raises(ValueError, match=r"instances_default\.json: two images have the id 1"):
        import_review(folder)


@pytest.mark.parametrize(
    "wrong", [{"layer": float("inf")}, {"layer": float("nan")}, {"group": "9" * 5000}]
)
def test_a_number_of_isat_that_is_none_is_an_error_that_names_the_file(
    wrong, images, source, tmp_path
):
    folder = given_out("isat", images, source, tmp_path)
    changed(folder / "00001_a.json", lambda content: content["objects"][0].update(wrong))
    with pytest.raises(ValueError, match=r"a\.json: objects\.0\."):
        import_review(folder)


def first_item(change):
    return lambda content: change(content["images"][0]["items"][0])


MANIFESTS = {
    "another tool": lambda content: content.update(tool="paint"),
    "no tool": lambda content: content.update(tool=[]),
    "no images": lambda content: content.pop("images"),
    "no mask": first_item(lambda item: item.update(mask=None)),
    "no counts": first_item(lambda item: item["mask"].pop("counts")),
    "runs too long": first_item(lambda item: item["mask"].update(counts="o" * 50)),
    "another size": first_item(lambda item: item["mask"].update(size=[WIDTH, HEIGHT])),
    "a size beyond memory": first_item(lambda item: item["mask"].update(size=[2**20, 2**20])),
    "smaller than its masks": lambda content: content["images"][0].update(height=HEIGHT - 1),
    "outside its folder": lambda content: content["images"][0].update(name="../../a.jpg"),
}


@pytest.mark.parametrize("tool", ["labelme", "html"])
@pytest.mark.parametrize("damage", MANIFESTS)
def test_a_damaged_list_of_what_was_given_out_is_named_before_a_mask_is_decoded(
    damage, tool, images, source, tmp_path
):
    folder = given_out(tool, images, source, tmp_path)
    (folder / "decisions.json").write_text(json.dumps({"11": "accepted"}))
    changed(folder / "review.json", MANIFESTS[damage])
    with pytest.raises(ValueError, match=r"review\.json"):
        import_review(folder)


def test_an_empty_mask_cannot_be_accepted_on_the_page(source, tmp_path):
    nothing = item(14, 1, np.zeros((HEIGHT, WIDTH), bool))
    only = [ReviewImage("a.jpg", 1, HEIGHT, WIDTH, (nothing,))]
    folder = given_out("html", only, source, tmp_path)
    (folder / "decisions.json").write_text(json.dumps({"14": "accepted"}))
    with pytest.raises(ValueError, match="target 14 is accepted, but its mask is empty"):
        import_review(folder)
