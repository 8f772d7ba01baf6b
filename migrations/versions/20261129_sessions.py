"""When all sessions of a user were ended, and until when a one-time password logs in."""

import sqlalchemy as sa
from alembic import op

revision = "c41e7a90d25b"
down_revision = "8f2e7d90c1b4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("one_time_until", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("sessions_ended_at", sa.DateTime(timezone=True)))
    # Whoever was given a one-time password before this step, used or not, can still log in once with it.
    op.execute(
        "UPDATE users SET one_time_until = now() + interval '24 hours' WHERE must_change_password"
    )


def downgrade() -> None:
    op.drop_column("users", "sessions_ended_at")
    op.drop_column("users", "one_time_until")
