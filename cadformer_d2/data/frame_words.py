"""Expressions that hold for a whole image and may be false for a part of it.

"The leftmost of three tanks" is about everything in the image. After a crop, a shift or a rotation
by a few degrees, places, extremes and counts may no longer hold. Closed word lists decide, and they
refuse too much rather than too little: a refused expression keeps its image, while one admitted
wrongly teaches the model something false.
"""

from __future__ import annotations

import re

from .orientation import UNSAFE, Orientation

# Every phrase for a direction or a corner.
DIRECTIONS = Orientation().pattern
PLACES = (
    "center|centre|central|centrally|middle|mid|corner|corners|edge|edges|side|sides|border|borders|"
    "boundary|end|ends|half|quarter|part|image|picture|photo|photograph|scene|frame|view|behind|"
    "front|far|outer|inner|southeast|southwest|northeast|northwest|along"
)
EXTREMES = (
    r"\w*most|least|(?!(?:forests?|harvest|rest|nest)\b)\w{2,}est|first|second|third|fourth|fifth|"
    "sixth|last"
)
ONLY = "only|sole|single|lone|lonely|alone|isolated|unique|solitary"
COUNTS = (
    r"\d+(?:st|nd|rd|th)?|one|two|three|four|five|six|seven|eight|nine|ten|dozen|both|all|every|each|"
    "several|many|few|pair|pairs|group|cluster|other|others|another|rest|none|number"
)
FRAME_WORDS = re.compile(rf"\b(?:{PLACES}|{EXTREMES}|{ONLY}|{COUNTS})\b", re.IGNORECASE)


def depends_on_frame(expression: str) -> bool:
    """Whether an expression may become false in another frame around its target."""
    return any(pattern.search(expression) for pattern in (DIRECTIONS, UNSAFE, FRAME_WORDS))
