"""The ledger: what came in, what is to be done, what came of it, and who did what. One database, opened by `Ledger.open`."""

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.deliveries import Deliveries
from hilum.clinic.ledger.instances import Facts, Instances
from hilum.clinic.ledger.pulls import Pulls
from hilum.clinic.ledger.queue import Claim, Queue
from hilum.clinic.ledger.retention import Retention
from hilum.clinic.ledger.reviews import Review, Reviews
from hilum.clinic.ledger.tokens import Tokens
from hilum.clinic.ledger.trail import Trail
from hilum.clinic.ledger.worklist import Worklist

__all__ = [
    "Claim",
    "Deliveries",
    "Facts",
    "Instances",
    "Ledger",
    "Pulls",
    "Queue",
    "Retention",
    "Review",
    "Reviews",
    "Tokens",
    "Trail",
    "Worklist",
]
