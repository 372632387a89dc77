"""Agreement of masks on the map, and the mosaic they are tried on, as a user calls them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def commands_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "datasets"))


def write(path, values, *, left=500_000, top=5_300_000, pixel=0.5, crs="EPSG:32632"):
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "crs": crs}
    profile |= {"height": values.shape[0], "width": values.shape[1]}
    transform = from_origin(left, top, pixel, pixel)
    with rasterio.open(path, "w", transform=transform, **profile) as file:
        file.write(values, 1)
    return path


def compare(*arguments, **options):
    from cadformer_d2.commands.compare_rasters import compare_rasters

    return compare_rasters(*arguments, **options)


def mask(size=(60, 80)):
    values = np.zeros(size, np.uint8)
    values[10:30, 20:40] = 1
    return values


def test_iou_is_that_of_the_targets(tmp_path):
    shifted = np.roll(mask(), 10, axis=1)
    found = compare(write(tmp_path / "a.tif", mask()), write(tmp_path / "b.tif", shifted))
    assert found.iou == pytest.approx(200 / 600)
    assert found.share_differing == pytest.approx(400 / 4800)


def test_rasters_are_compared_where_they_lie_on_the_map(tmp_path):
    whole = write(tmp_path / "a.tif", mask())
    part = write(tmp_path / "b.tif", mask()[5:, 7:], left=500_003.5, top=5_299_997.5)
    for first, second in ((whole, part), (part, whole)):
        found = compare(first, second)
        assert found.iou == 1 and found.num_pixels == 55 * 73


def test_pixels_without_data_are_left_out(tmp_path):
    holed = mask()
    holed[:, :30] = 255
    found = compare(write(tmp_path / "a.tif", holed), write(tmp_path / "b.tif", mask()))
    assert found.iou == 1 and found.num_pixels == 60 * 50


def test_the_truth_may_be_one_of_several_categories(tmp_path):
    truth = mask() * 6
    truth[40:50] = 2
    found = compare(write(tmp_path / "a.tif", mask()), write(tmp_path / "b.tif", truth), value=6)
    assert found.iou == 1


MISTAKES = {
    "another CRS": ({"crs": "EPSG:32633"}, "a.tif is in EPSG:32632, .*b.tif in EPSG:32633"),
    "half a pixel": ({"left": 500_000.25}, "have different pixels"),
    "another size": ({"pixel": 1.0}, "have different pixels"),
    "elsewhere": ({"left": 600_000}, "have no pixel in common"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_rasters_that_cannot_be_compared_are_refused(tmp_path, mistake):
    options, message = MISTAKES[mistake]
    other = write(tmp_path / "b.tif", mask(), **options)
    with pytest.raises(ValueError, match=message):
        compare(write(tmp_path / "a.tif", mask()), other)


def test_a_mosaic_and_its_truth_lie_on_each_other(tmp_path, monkeypatch, capsys):
    import prepare_synthrs_mosaic

    from cadformer_d2.commands import compare_rasters

    arguments = ["prepare", "--output", str(tmp_path), "--side", "200", "--scene-size", "64"]
    monkeypatch.setattr(sys, "argv", arguments)
    prepare_synthrs_mosaic.main()
    with (
        rasterio.open(tmp_path / "scene.tif") as scene,
        rasterio.open(tmp_path / "truth.tif") as truth,
    ):
        assert scene.shape == truth.shape == (200, 200) and scene.count == 3
        assert scene.transform == truth.transform and scene.crs == truth.crs
        pools = truth.read(1) == 5
        assert scene.read(3)[pools].mean() > scene.read(1)[pools].mean() + 40  # blue
        write(tmp_path / "pools.tif", pools.astype(np.uint8))
    names = ["pools.tif", "truth.tif"]
    arguments = ["compare", *(str(tmp_path / n) for n in names), "--category", "swimming pool"]
    monkeypatch.setattr(sys, "argv", arguments)
    compare_rasters.main()
    assert "IoU 1.0000, 0.0000% differ" in capsys.readouterr().out
