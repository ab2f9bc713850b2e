"""Boxes: geometry, suppression and fusion, on arrays alone.

A box is x1, y1, x2, y2: left, top, right and bottom edge in any unit (pixels of the film, or shares of its sides), x to the
right and y downward, so that its width is x2 - x1. Many films and classes are handled in one call: `groups` says which
boxes may meet, one number (or name) a box; `group_numbers(images, classes)` makes it of a film and a class a box.
"""

from hilum.boxes.fuse import METHODS, Fused, Method, fuse, group_numbers
from hilum.boxes.fusion import CONF_TYPES, nmw, wbf
from hilum.boxes.geometry import area, as_boxes, clip, giou, iou, paired_iou, valid
from hilum.boxes.select import Selected, select
from hilum.boxes.suppression import nms, soft_nms

__all__ = [
    "CONF_TYPES",
    "METHODS",
    "Fused",
    "Method",
    "Selected",
    "area",
    "as_boxes",
    "clip",
    "fuse",
    "giou",
    "group_numbers",
    "iou",
    "nms",
    "nmw",
    "paired_iou",
    "select",
    "soft_nms",
    "valid",
    "wbf",
]
