"""Studies: published systems as recipes, their printed figures, and the tables that set them beside ours.

One folder a paper: `study.yaml` (recipes and printed figures) and `README.md` (choices and contradictions).
"""

from hilum.studies.study import Study, load, names

__all__ = ["Study", "load", "names"]
