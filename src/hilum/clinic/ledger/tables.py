"""The ledger's tables. Times are seconds since 1970 (UTC), digests are SHA-256 in hex; no patient's name or number is here.

A change here needs a migration beside it (`migrations/versions`); a test holds that both say the same.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_UID, _DIGEST, _NAME = String(64), String(64), String(128)

settings = Table(
    "settings", metadata, Column("name", _NAME, primary_key=True), Column("value", JSON, nullable=False)
)

# One SOP instance with one set of pixels. `patient` and `accession` are keyed hashes (`Instances.mark`).
instances = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sop_uid", _UID, nullable=False),
    Column("sop_class", _UID),
    Column("study_uid", _UID, index=True),
    Column("series_uid", _UID),
    Column("modality", String(16)),
    Column("patient", _DIGEST),
    Column("accession", _DIGEST, index=True),
    Column("pixels", _DIGEST, nullable=False),  # of the stored values, so the same in every lossless syntax
    Column("file", _DIGEST, nullable=False, index=True),
    Column("bytes", BigInteger, nullable=False),
    Column("door", String(16), nullable=False),
    Column("sender", _NAME, nullable=False),
    Column("received", Float, nullable=False),
    UniqueConstraint("sop_uid", "pixels"),
)

# The one job of an instance; its states are in `queue`. `lease_until` and `worker` belong to the state `running`.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instances.id"), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("worker", _NAME),
    Column("lease_until", Float),
    Column("changed", Float, nullable=False),
    Index("ix_jobs_state_id", "state", "id"),
)

# What one set of bundles made of one instance. `folder` lies under the store's results; `summary` is for lists.
results = Table(
    "results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instances.id"), nullable=False),
    Column("bundles", _DIGEST, nullable=False),
    Column("folder", _NAME, nullable=False, unique=True),
    Column("files", JSON, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("instance_id", "bundles"),
)

# DICOM objects of a result, by which Hilum knows its own when they come back.
products = Table(
    "products",
    metadata,
    Column("sop_uid", _UID, primary_key=True),
    Column("result_id", ForeignKey("results.id"), nullable=False, index=True),
    Column("file", _NAME, nullable=False),
)

# The same SOP Instance UID with other pixels: `instance_id` came later than `first_id` and waits for a person.
conflicts = Table(
    "conflicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sop_uid", _UID, nullable=False, index=True),
    Column("first_id", ForeignKey("instances.id"), nullable=False),
    Column("instance_id", ForeignKey("instances.id"), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("released", Float),
    Column("released_by", _NAME),
)

# Instances whose patient contradicts what is known of their study; they wait for a person.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instances.id"), nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("released", Float),
    Column("released_by", _NAME),
)

# A result on its way to an archive.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("result_id", ForeignKey("results.id"), nullable=False),
    Column("target", String(512), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("changed", Float, nullable=False),
    UniqueConstraint("result_id", "target"),
    Index("ix_deliveries_state_next_try", "state", "next_try"),
)

# A study to fetch from an archive. `instances` is how many it had when it was last looked at.
pulls = Table(
    "pulls",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", String(512), nullable=False),
    Column("study_uid", _UID, nullable=False),
    Column("instances", Integer),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("changed", Float, nullable=False),
    UniqueConstraint("source", "study_uid"),
    Index("ix_pulls_state_next_try", "state", "next_try"),
)

# The audit trail (PS3.15 A.5). Rows are added, never changed.
trail = Table(
    "trail",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False, index=True),
    Column("event", String(32), nullable=False),
    Column("action", String(1), nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("door", String(16), nullable=False),
    Column("who", _NAME, nullable=False),
    Column("what", JSON, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", _NAME, nullable=False, unique=True),
    Column("hash", _DIGEST, nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Boolean, nullable=False),
)

# What a person said of a film: rows are added, never changed. `findings`: {name, bundle, verdict} each; `boxes`: {name, box}
# each, in the film's pixels, or null where the boxes were not looked at.
reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instances.id"), nullable=False, index=True),
    Column("result_id", ForeignKey("results.id"), nullable=False),
    Column("time", Float, nullable=False),
    Column("who", _NAME, nullable=False),
    Column("findings", JSON, nullable=False),
    Column("boxes", JSON(none_as_null=True)),
)
