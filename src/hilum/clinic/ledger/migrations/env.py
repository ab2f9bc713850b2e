"""Run by Alembic; the connection is the ledger's own, so every step is inside its transaction."""

from alembic import context

from hilum.clinic.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
