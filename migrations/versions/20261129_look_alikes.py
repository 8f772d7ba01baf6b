"""Usernames that look alike, addresses in Punycode, codes of roles without regard to case, and refused patterns."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from domain.audit_log import parts_of
from domain.grants import stored_grants
from domain.identity import Email, Username

revision = "e3a9514bd07c"
down_revision = "5d0b1f6e8a37"
branch_labels = None
depends_on = None

BATCH = 1000


def upgrade() -> None:
    op.add_column(
        "users",
        sa.Column(
            "username_skeleton",
            sa.Text(collation="C"),
            nullable=False,
            server_default=sa.text("('@' || gen_random_uuid())"),
        ),
    )
    op.create_unique_constraint(op.f("uq_users_username_skeleton"), "users", ["username_skeleton"])
    users = sa.table(
        "users",
        *map(sa.column, ("id", "username", "username_skeleton", "email", "email_key")),
    )
    for rows in batches(users):
        for row in rows:
            # Of several that look alike the one who was first is looked like; the others keep their names.
            fill(users, row.id, "username_skeleton", Username(row.username, is_new=False).skeleton)
            if "xn--" in row.email_key:
                fill(users, row.id, "email_key", Email(row.email, is_new=False).key)
    op.drop_constraint(op.f("uq_roles_code"), "roles")
    op.add_column(
        "roles",
        sa.Column(
            "code_key",
            sa.Text(collation="C"),
            sa.Computed("lower(code)", persisted=True),
            nullable=False,
        ),
    )
    op.create_unique_constraint(op.f("uq_roles_code_key"), "roles", ["code_key"])
    take_refused_patterns()


def take_refused_patterns() -> None:
    """Take from roles what today's rules refuse, which gives nothing any more, and note it."""
    connection = op.get_bind()
    ids = connection.execute(
        sa.text("SELECT id FROM roles WHERE array_to_string(grants, ' ') LIKE '%*%'")
    ).scalars()
    for role_id in ids.all():
        stored = connection.execute(
            sa.text("SELECT grants FROM roles WHERE id = :id FOR UPDATE"), {"id": role_id}
        ).scalar_one()
        kept = {grant.value for grant in stored_grants(stored)}
        refused = sorted(set(stored) - kept)
        if refused:
            connection.execute(
                sa.text("UPDATE roles SET grants = :kept, updated_at = now() WHERE id = :id"),
                {"id": role_id, "kept": sorted(kept)},
            )
            for part in parts_of({"permissions": {"added": [], "removed": refused}}):
                connection.execute(
                    _NOTE, {"target": f"role:{role_id}", "details": json.dumps(part)}
                )


_NOTE = sa.text("""
INSERT INTO audit_outbox (id, at, action, outcome, target, address, agent, request_id, details)
VALUES (gen_random_uuid(), clock_timestamp(), 'roles.replaced', 'success', :target, '', '', '',
        CAST(:details AS json))
""")


def batches(users: sa.TableClause) -> Iterator[Any]:
    """Yield the users in the order in which they were made, which their ids (UUIDv7) are in."""
    last = None
    while True:
        wanted = sa.select(users).order_by(users.c.id).limit(BATCH)
        if last is not None:
            wanted = wanted.where(users.c.id > last)
        rows = op.get_bind().execute(wanted).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def fill(users: sa.TableClause, user_id: object, column: str, value: str) -> None:
    """Store a value unless another user has it."""
    other = users.alias()
    taken = sa.exists().where(other.c[column] == value)
    op.execute(sa.update(users).where(users.c.id == user_id, ~taken).values({column: value}))


def downgrade() -> None:
    op.drop_column("roles", "code_key")
    op.execute("UPDATE roles SET code = lower(code)")
    op.create_unique_constraint(op.f("uq_roles_code"), "roles", ["code"])
    op.drop_column("users", "username_skeleton")
