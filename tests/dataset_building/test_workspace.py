import json

import pytest

from cadformer_d2.dataset_building.triplets import GroundedTriplet
from cadformer_d2.dataset_building.workspace import ImageMasks, Workspace


@pytest.mark.parametrize("name", ["../../out.jpg", "/tmp/out.jpg", "a\\..\\..\\out.jpg", "o\0.jpg"])
def test_a_name_that_leads_out_of_the_workspace_is_refused_wherever_it_is_read(name, tmp_path):
    workspace = Workspace(tmp_path / "work")
    workspace.write_triplets([GroundedTriplet(name, (0, 0, 9, 9), "it", "c", "train", "")], None)
    with pytest.raises(ValueError, match=r"triplets\.json: triplets\.0\.image .*'read' again"):
        workspace.targets()
    with pytest.raises(ValueError, match="file"):
        workspace.write_masks(ImageMasks(name, {}, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


MASK = {"size": [2, 2], "counts": "04"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("triplets.json", []),
        ("triplets.json", {"images": None}),
        ("triplets.json", {"images": None, "triplets": [{"image": "a.jpg"}]}),
        ("triplets.json", {"images": 5, "triplets": []}),
        ("masks/a.jpg.json", {"image": "a.jpg", "segmenter": {"name": "x"}, "masks": {"x": {}}}),
        ("masks/a.jpg.json", {"image": "a.jpg", "segmenter": {}, "masks": {}}),
        (
            "masks/a.jpg.json",
            {
                "image": "a.jpg",
                "segmenter": {"name": "grabcut"},
                "masks": {"1": {"mask": MASK, "predicted_iou": float("nan"), "stability": 1}},
            },
        ),
        ("decisions/anna.json", {"1": {"verdict": "maybe", "mask": None}}),
        ("decisions/anna.json", {"1": {"verdict": "edited", "mask": {"size": None}}}),
        ("decisions/anna.json", {"1": {"verdict": "edited", "mask": MASK | {"counts": "09"}}}),
        ("decisions/anna.json", [1]),
    ],
)
def test_a_damaged_file_of_a_workspace_is_named(name, content, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    workspace = Workspace(tmp_path)
    with pytest.raises(ValueError, match=rf"{name}: .*remove the file and run the step"):
        workspace.read_decisions()
        workspace.read_masks("a.jpg")
        workspace.read_image_folder()
        workspace.read_triplets()
