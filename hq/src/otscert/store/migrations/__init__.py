"""Steps from one schema to the next, run by Alembic. Frozen once released: a step imports nothing that may change."""
