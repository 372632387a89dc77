import sys

import pytest

from cadformer_d2.package_files import find_package_file, is_package_reference


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    """A package with a file, whose code would leave a mark if it ran."""
    folder = tmp_path / "carrier_of_weights"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.pth").write_bytes(b"weights")
    (folder / "__init__.py").write_text("raise SystemExit('the package was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_file_or_folder_of_a_package_is_found_and_the_package_is_not_imported(carrier):
    file = find_package_file("package:carrier_of_weights/model/weights.pth")
    assert file.read_bytes() == b"weights"
    assert find_package_file("package:carrier_of_weights/model") == carrier / "model"
    assert "carrier_of_weights" not in sys.modules


def test_a_reference_is_told_from_a_path():
    assert is_package_reference("package:some/where")
    assert not any(map(is_package_reference, ("bert-base-uncased", "/package:x", "")))


@pytest.mark.parametrize(
    "reference",
    [
        *(
            "package:",
            "package:/etc/passwd",
            "package:carrier_of_weights/../x",
            "bert-base-uncased",
        ),
        *("package:carrier_of_weights//etc/passwd", "package:carrier_of_weights.model/weights.pth"),
        "package:carrier_of_weights/a\0b",
    ],
)
def test_what_leaves_the_package_or_names_none_is_refused(carrier, reference):
    with pytest.raises(ValueError, match="package"):
        find_package_file(reference)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("package:not-there/model", "no package 'not-there' is installed; .* underscores"),
        ("package:carrier_of_weights/model/gone.pth", "the package has no model/gone.pth; its fol"),
    ],
)
def test_what_is_not_there_is_named(carrier, reference, message):
    with pytest.raises(FileNotFoundError, match=message):
        find_package_file(reference)
