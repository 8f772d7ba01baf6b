"""What the database holds, by name: tables, constraints, indexes, functions, locks. `migrations/` makes it so."""

from enum import IntEnum

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    and_,
    event,
    func,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, array

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
    PERMISSIONS = int.from_bytes(b"portico\3")


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
    Column("name_key", _Key, nullable=False, server_default=""),
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

# Whoever looks for them looks for few among many.
is_disabled = users.c.status == literal(UserStatus.DISABLED.value, literal_execute=True)
Index("ix_users_disabled", users.c.username_key, postgresql_where=is_disabled)

# Whatever contains a text has its n-grams too, and an index knows who has which. That is how pg_trgm
# works; this needs no extension, and finds Chinese names, which have two characters.
_NGRAMS = """
CREATE FUNCTION ngrams(words text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000
RETURN ARRAY(
  SELECT substr(word, start, size) COLLATE "C"
    FROM unnest(words) AS word, generate_series(1, length(word)) AS start, generate_series(1, 3) AS size
)
"""


@event.listens_for(metadata, "before_create")
def _make_functions(_: MetaData, connection: Connection, **__: object) -> None:
    connection.execute(text(_NGRAMS))


# What a keyword is looked for in.
SEARCHED = (users.c.username_key, users.c.email_key, users.c.name_key)
ngrams_of_user = func.ngrams(array(SEARCHED), type_=ARRAY(_Key))
Index(
    "ix_users_ngrams",
    ngrams_of_user,
    postgresql_using="gin",
    # Kilobytes that wait to be sorted in; every search reads all of them.
    postgresql_with={"gin_pending_list_limit": 256},
)

roles = Table(
    "roles",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("code", _Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", _Key, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("grants", ARRAY(Text), nullable=False),
    Column("buttons", ARRAY(Text), nullable=False),
    Column("routers", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("code"),
    UniqueConstraint("name_key"),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role_id", Uuid, ForeignKey(roles.c.id, ondelete="CASCADE"), primary_key=True),
    Index("ix_user_roles_role_id", "role_id"),
)

permissions = Table(
    "permissions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("method", _Key, nullable=False),
    Column("path", _Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
    UniqueConstraint("method", "path"),
)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Uuid),  # no foreign key: what users did outlives them
    Column("target", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # Handed on as it is; JSONB would change numbers.
    Column("details", JSON, nullable=False),
    Index("ix_audit_outbox_at_id", "at", "id"),
)
