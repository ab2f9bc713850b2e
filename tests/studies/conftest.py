"""The phantoms of the learning tests, and their single process and thread."""

from tests.learning.conftest import boxed, films, in_this_process  # noqa: F401
