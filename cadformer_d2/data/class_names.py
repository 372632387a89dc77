"""Class names of the published datasets."""

RRSISD_CLASSES = (
    "airplane",
    "airport",
    "golf field",
    "expressway service area",
    "baseball field",
    "stadium",
    "ground track field",
    "storage tank",
    "basketball court",
    "chimney",
    "tennis court",
    "overpass",
    "train station",
    "ship",
    "expressway toll station",
    "dam",
    "harbor",
    "bridge",
    "vehicle",
    "windmill",
)
# In the order of their ids, from 1; synthrs has the same classes.
RRSISHR_CLASSES = (
    "baseball field",
    "basketball court",
    "ground track field",
    "roundabout",
    "swimming pool",
    "storage tank",
    "tennis court",
)
# Objects that RefSegRS's expressions name; its files have no categories.
REFSEGRS_THINGS = (
    "road",
    "vehicle",
    "car",
    "van",
    "building",
    "truck",
    "trailer",
    "bus",
    "road marking",
    "bikeway",
    "sidewalk",
    "tree",
    "low vegetation",
    "impervious surface",
)
# Every name for an object that an expression of these datasets may use.
OBJECT_NAMES = tuple(sorted({*RRSISD_CLASSES, *RRSISHR_CLASSES, *REFSEGRS_THINGS}))
