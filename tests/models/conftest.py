"""These tests import timm by themselves, which needs what `hilum.models` defines for torchvision first."""

import hilum.models  # noqa: F401
