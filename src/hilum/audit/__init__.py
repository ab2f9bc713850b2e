"""The shortcut audit: does a bundle read what it should, or the hospital's marks?"""

from hilum.audit.run import audit

__all__ = ["audit"]
