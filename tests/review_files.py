"""A review given out to an annotation tool, and changes to its files."""

import json

from cadformer_d2.dataset_building.images import encoded
from cadformer_d2.dataset_building.review import export_review
from cadformer_d2.dataset_building.review.items import ReviewItem

HEIGHT, WIDTH = 90, 120
EDITORS = ("labelme", "isat", "coco")


def item(target_id, number, mask, category="storage tank"):
    return ReviewItem(
        target_id=target_id,
        number=number,
        category=category,
        sentences=("the tank <on> the left", "it is the largest & whitest one"),
        box_xyxy=(10.0, 10.0, 60.0, 60.0),
        mask=encoded(mask),
        score=0.5,
        reasons=("holes 2 > 0",),
    )


def given_out(tool, images, source, tmp_path):
    folder = tmp_path / tool
    export_review(images, tool=tool, source=source, folder=folder)
    return folder


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
