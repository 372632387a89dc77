"""A file system that gets full."""

import subprocess

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of so many kilobytes."""
    mounted = []

    def mount(kilobytes):
        folder = tmp_path / "disk"
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        result = subprocess.run(["mount", *options], capture_output=True, text=True)
        if result.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {result.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        # Lazily: whoever still looks at it does not fail the test.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
