"""Alembic's environment: migrations run on the connection that the store hands over."""

from alembic import context

from wainwright_controller import tables  # importing the tables fills the metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.DeviceTable.metadata,
    render_as_batch=True,  # SQLite cannot alter a column: Alembic rebuilds the table
    transaction_per_migration=False,
)
context.run_migrations()
