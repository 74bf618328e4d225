"""The model that a conversation is answered by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; conversations so far leave the choice to their owner's settings."""
    op.add_column("conversations", sa.Column("model", sa.Text))
