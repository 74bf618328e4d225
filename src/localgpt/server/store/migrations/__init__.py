"""How the tables came to be: one file per step, run in order by Alembic."""
