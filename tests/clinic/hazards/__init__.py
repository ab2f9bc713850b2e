"""Every bad input of the project's list through every door of running processes, and the table of what came of it.

`python -m tests.clinic.hazards` writes the table into `docs/hazards.md`; `tests/clinic/test_hazards.py` holds both to it.
"""
