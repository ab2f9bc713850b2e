"""Pretexts: questions that films without labels answer by themselves. A new one is a file here, a line below, and a weight
in `options`.
"""

from hilum.learning.pretexts.colour import Colour
from hilum.learning.pretexts.contrast import Contrast
from hilum.learning.pretexts.patches import Patches
from hilum.learning.pretexts.pixels import Pixels
from hilum.learning.pretexts.pretext import Encoded, Pretext, Question, Surroundings, Views
from hilum.learning.pretexts.rotation import Rotation
from hilum.learning.pretexts.triplet import Triplet

PRETEXTS: dict[str, type[Pretext]] = {
    "rotation": Rotation,
    "colour": Colour,
    "patches": Patches,
    "pixels": Pixels,
    "contrast": Contrast,
    "triplet": Triplet,
}

__all__ = ["PRETEXTS", "Encoded", "Pretext", "Question", "Surroundings", "Views"]
