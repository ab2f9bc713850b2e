"""`hilum` as a user starts it, but for shorter waits and smaller films, so that reaching a limit takes seconds:
`python -m tests.clinic.hazards.tight serve ...`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

FILM = 8 * 2**20  # bytes
WAIT, WHOLE = 4.0, 10.0  # seconds: between two pieces, and for all of it


def tighten(command: str) -> None:
    """What a command may wait for; what it has options for is given by options (`clinic.py`)."""
    here: Any
    if command == "serve":
        from hilum.service import server, settings

        server.HEADER_SECONDS = WAIT
        here = settings
        here.Settings = partial(settings.Settings, body=4 * FILM, idle=WAIT, whole=WHOLE)
    elif command == "node":
        from hilum.clinic import node

        here = node
        here.Bounds = partial(node.Bounds, pdu_seconds=WAIT)
    elif command == "watch":
        from hilum.clinic import dicomweb, intake

        dicomweb.IDLE, dicomweb.WHOLE = WAIT, WHOLE
        here = intake
        here.Intake = partial(intake.Intake, limit=FILM)


if __name__ == "__main__":
    from hilum.cli import main

    tighten(next((word for word in sys.argv[1:] if not word.startswith("-")), ""))
    main()
