"""constraints.txt names a version for all that gets installed."""

import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
BY_OURSELVES = {"cadformer-d2", "detectron2"}  # built here, from a file with a checksum of its own


def installed_for(name, extras, found):
    """Names of a distribution and of all it needs on this machine, with its extras."""
    needs = [Requirement(text) for text in distribution(name).requires or ()]
    for need in needs:
        wanted = [{"extra": extra} for extra in (*extras, "")]
        if need.marker is None or any(map(need.marker.evaluate, wanted)):
            key = (canonicalize_name(need.name), frozenset(need.extras))
            if key not in found:
                found.add(key)
                installed_for(need.name, need.extras, found)
    return {name for name, _ in found}


def test_a_version_is_named_for_everything_that_gets_installed():
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9._-]+==[a-z0-9.+]+", line) for line in lines)
    pinned = {canonicalize_name(line.split("==")[0]) for line in lines}
    needed = installed_for("cadformer_d2", {"dev"}, set()) | installed_for("detectron2", (), set())
    assert not needed - pinned - BY_OURSELVES
