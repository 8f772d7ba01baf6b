"""What the database holds, by name: tables, constraints, indexes and advisory locks. `migrations/` makes it so."""

from enum import IntEnum

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    and_,
    literal,
)

from domain.identity import UserStatus

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class AdvisoryLock(IntEnum):
    """Locks that belong to no table; one database has one name space for them."""

    MIGRATIONS = int.from_bytes(b"portico\1")
    ADMINISTRATORS = int.from_bytes(b"portico\2")


# Keys are compared byte by byte: a collation of the operating system's would be slower, and an
# upgrade of it can silently corrupt the index.
_Key = Text(collation="C")

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("username", Text, nullable=False),
    Column("username_key", _Key, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", _Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("password_changed_at", DateTime(timezone=True), nullable=False),
    Column("last_login_at", DateTime(timezone=True)),
    UniqueConstraint("username_key"),
    UniqueConstraint("email_key"),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
)

# A literal, not a parameter: with a parameter the planner cannot tell that the partial index applies.
is_active_administrator = and_(
    users.c.is_admin, users.c.status == literal(UserStatus.ACTIVE.value, literal_execute=True)
)
Index("ix_users_active_administrators", users.c.id, postgresql_where=is_active_administrator)
