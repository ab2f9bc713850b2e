"""Learning: from a recipe to a bundle, and the one door to test data."""

import hilum.models  # noqa: F401  before Lightning, which imports torchvision: see models/torchvision_operators.py
