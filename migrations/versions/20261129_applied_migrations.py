"""Which migrations a database has had."""

import sqlalchemy as sa
from alembic import op

revision = "c1a7d20f6b83"
down_revision = "c41e7a90d25b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "applied_migrations",
        sa.Column("revision", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "applied_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_applied_migrations")),
    )


def downgrade() -> None:
    op.drop_table("applied_migrations")
