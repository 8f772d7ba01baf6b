"""The tables of users, roles and role assignments, in one file because queries of both repositories join them."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
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

from adapters.postgres.tables import Key, metadata
from domain.identity import UserStatus

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("username", Text, nullable=False),
    Column("username_key", Key, nullable=False),
    # An older release, which does not know look-alikes, writes none. The default can never be a username.
    Column(
        "username_skeleton",
        Key,
        nullable=False,
        server_default=text("('@' || gen_random_uuid())"),
    ),
    Column("email", Text, nullable=False),
    Column("email_key", Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Key, nullable=False, server_default=""),
    Column("password_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("one_time_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("password_changed_at", DateTime(timezone=True), nullable=False),
    Column("sessions_ended_at", DateTime(timezone=True)),
    Column("last_login_at", DateTime(timezone=True)),
    UniqueConstraint("username_key"),
    UniqueConstraint("username_skeleton"),
    UniqueConstraint("email_key"),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
)

# A literal, not a parameter: with a parameter the planner cannot tell that the partial index applies.
is_active_administrator = and_(
    users.c.is_admin, users.c.status == literal(UserStatus.ACTIVE.value, literal_execute=True)
)
Index("ix_users_active_administrators", users.c.id, postgresql_where=is_active_administrator)

# The orders that a list of users can have, beside those of the unique keys.
Index("ix_users_name_key", users.c.name_key, users.c.id)
Index("ix_users_created_at", users.c.created_at, users.c.id)

# Few users among many are disabled.
is_disabled = users.c.status == literal(UserStatus.DISABLED.value, literal_execute=True)
Index("ix_users_disabled", users.c.username_key, postgresql_where=is_disabled)

# A word that contains a text also contains its n-grams, and an index finds the users by n-gram. pg_trgm works like
# this, too; ours needs no extension, and finds Chinese names, which have two characters.
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


# The columns in which a keyword is searched.
SEARCHED = (users.c.username_key, users.c.email_key, users.c.name_key)
# A search that reads users in the order of their usernames reads this alone, until it knows whom to fetch.
Index(
    "ix_users_search",
    users.c.username_key,
    postgresql_include=["email_key", "name_key", "id"],
)
ngrams_of_user = func.ngrams(array(SEARCHED), type_=ARRAY(Key))
Index(
    "ix_users_ngrams",
    ngrams_of_user,
    postgresql_using="gin",
    # Kilobytes of unsorted entries; every search reads all of them.
    postgresql_with={"gin_pending_list_limit": 256},
)

roles = Table(
    "roles",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("code", Key, nullable=False),
    Column("code_key", Key, Computed("lower(code)", persisted=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Key, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("grants", ARRAY(Text), nullable=False),
    Column("buttons", ARRAY(Text), nullable=False),
    Column("routers", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("code_key"),
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
