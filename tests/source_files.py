"""Sources of boxes and sentences, for tests to read or to damage."""

import json

from cadformer_d2.dataset_building.readers import fixed_size, read_triplets

POOL = "1_2_512_32611_sport_swimming.jpg"  # an image's name as RSVG-HR has them
SIZE = fixed_size(1024, 1024)


def read(source_format, *, sizes=SIZE, annotations=None, **split_files):
    return read_triplets(
        source_format, split_files=split_files, annotations=annotations, image_sizes=sizes
    )


def read_lines(tmp_path, *lines):
    file = tmp_path / "train.txt"
    file.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return read("rsvg-hr", train=file)


def xml(image, *objects):
    described = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox><description>{text}</description></object>"
        for name, (x1, y1, x2, y2), text in objects
    )
    return f"<annotation><filename>{image}</filename>{described}</annotation>"


def coco_source(tmp_path, **changes):
    """A COCO file of one box in an image of 400 x 600 pixels; changes are of its entries."""
    image = {"id": 1, "file_name": POOL, "height": 400, "width": 600} | changes.get("image", {})
    box = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "caption": "a pool"}
    content = {
        "images": [image],
        "categories": [{"id": 1, "name": "pool"} | changes.get("category", {})],
        "annotations": [box | changes.get("annotation", {})],
    }
    file = tmp_path / "train.json"
    file.write_text(json.dumps(content))
    return file, content


def read_coco(tmp_path, sizes=None, **changes):
    file, _ = coco_source(tmp_path, **changes)
    return read("coco", sizes=sizes or fixed_size(400, 600), train=file)
