"""Things in a valid state, of which a test names only what it is about."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypedDict, Unpack
from uuid import UUID

from domain.audit_log import AuditEntry, AuditId, AuditOutcome
from domain.connections import Connection, ConnectionId, ProcessId
from domain.files.content import MediaType
from domain.files.files import File, FileId, FileName
from domain.grants import Grant
from domain.identity import (
    ONE_TIME_PASSWORD_LIFETIME,
    Email,
    PersonName,
    User,
    UserId,
    Username,
    UserStatus,
)
from domain.messages import Draft, MessageId
from domain.roles import Role, RoleCode, RoleId, RoleStatus
from domain.rooms import Person, Room, RoomId, RoomKind, RoomName
from domain.scheduling.periodic_tasks import Definition, PeriodicTask
from domain.scheduling.schedules import Crontab
from domain.scheduling.slots import PeriodicTaskId
from domain.sessions import SessionId

A_MOMENT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_numbers = count(1000)


def a_uuid() -> UUID:
    """Return a UUID that no other call returns."""
    return UUID(int=next(_numbers))


def a_task_id() -> PeriodicTaskId:
    """Return the id of a periodic task that does not exist."""
    return PeriodicTaskId(a_uuid())


class UserChanges(TypedDict, total=False):
    """What else may differ from an active user with a password of their own."""

    id: UserId
    password_hash: str
    status: UserStatus
    is_admin: bool
    must_change_password: bool
    one_time_until: datetime | None
    created_at: datetime
    updated_at: datetime
    password_changed_at: datetime
    sessions_ended_at: datetime | None
    last_login_at: datetime | None


def a_user(
    *,
    username: str | None = None,
    email: str | None = None,
    name: str | None = None,
    **changes: Unpack[UserChanges],
) -> User:
    """Return a user whose id, username and email no other has, unless they are given."""
    number = next(_numbers)
    user = User(
        id=UserId(UUID(int=number)),
        username=Username(username or f"user-{number}"),
        email=Email(email or f"user-{number}@example.org"),
        name=PersonName(name or f"User {number}"),
        password_hash=f"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$hash{number}",
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
        password_changed_at=A_MOMENT,
    )
    for field, value in changes.items():
        setattr(user, field, value)
    if user.must_change_password and "one_time_until" not in changes:
        user.one_time_until = user.password_changed_at + ONE_TIME_PASSWORD_LIFETIME
    return user


class RoleChanges(TypedDict, total=False):
    """What else may differ from an active role without grants."""

    id: RoleId
    description: str
    status: RoleStatus
    buttons: frozenset[str]
    routers: frozenset[str]
    created_at: datetime
    updated_at: datetime


def a_role(
    *grants: str,
    code: str | None = None,
    name: str | None = None,
    **changes: Unpack[RoleChanges],
) -> Role:
    """Return a role whose id, code and name no other role has, unless they are given."""
    number = next(_numbers)
    role = Role(
        id=RoleId(UUID(int=number)),
        code=RoleCode(code or f"role-{number}"),
        name=name or f"Role {number}",
        grants=frozenset(map(Grant, grants)),
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
    )
    for field, value in changes.items():
        setattr(role, field, value)
    return role


class EntryChanges(TypedDict, total=False):
    """What else may differ from an entry about something that the system did."""

    id: AuditId
    at: datetime
    outcome: AuditOutcome
    actor: UserId | None
    target: str
    address: str
    agent: str
    request_id: str
    details: Mapping[str, object]


def an_audit_entry(action: str = "users.created", **changes: Unpack[EntryChanges]) -> AuditEntry:
    """Return an entry whose id no other entry has, unless it is given."""
    entry = AuditEntry(id=AuditId(a_uuid()), at=A_MOMENT, action=action)
    return replace(entry, **changes)


def cron(text: str, timezone: str = "UTC") -> Crontab:
    """Return the crontab of five fields in the order of crontab(5)."""
    minute, hour, day_of_month, month_of_year, day_of_week = text.split()
    return Crontab(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        timezone=timezone,
    )


def a_definition(**changes: Any) -> Definition:
    """Return the definition of a task that runs each hour, but for `changes`."""
    number = next(_numbers)
    return replace(
        Definition(name=f"task {number}", task="reports.send", schedule=cron("0 * * * *")),
        **changes,
    )


def a_periodic_task(*, created_at: datetime = A_MOMENT, **changes: Any) -> PeriodicTask:
    """Return an enabled task that is unchanged since it was made, defined like `a_definition(**changes)`."""
    return PeriodicTask(
        id=a_task_id(),
        definition=a_definition(**changes),
        enabled_at=created_at,
        created_at=created_at,
        updated_at=created_at,
    )


def a_room_id() -> RoomId:
    """Return the id of a room that does not exist."""
    return RoomId(a_uuid())


def a_room(
    name: str | None = None,
    *,
    owner: UserId | None = None,
    kind: RoomKind = RoomKind.OPEN,
    created_at: datetime = A_MOMENT,
) -> Room:
    """Return a room whose id no other room has."""
    number = next(_numbers)
    return Room(
        id=RoomId(UUID(int=number)),
        name=RoomName(name or f"Room {number}"),
        kind=kind,
        owner=owner,
        created_at=created_at,
    )


def a_person(name: str = "Somebody") -> Person:
    """Return a user as others see them, whose id no other has."""
    return Person(id=UserId(a_uuid()), name=name)


_SOMEBODY = a_person()


def a_draft(room: RoomId, *, text: str = "Hello", author: Person = _SOMEBODY) -> Draft:
    """Return a message to be sent, whose id no other has."""
    return Draft(id=MessageId(a_uuid()), room=room, author=author, text=text, at=A_MOMENT)


class ConnectionChanges(TypedDict, total=False):
    """What else may differ from a connection to a process."""

    process: ProcessId
    address: str
    agent: str


def a_connection(user: Person, **changes: Unpack[ConnectionChanges]) -> Connection:
    """Return a connection whose id no other has."""
    connection = Connection(
        id=ConnectionId(f"sid-{next(_numbers):016}"),
        user=user,
        session_id=SessionId(a_uuid()),
        process=ProcessId("a process"),
        address="192.0.2.1",
        agent="a browser",
        since=A_MOMENT,
    )
    return replace(connection, **changes)


def a_file(owner: UserId) -> File:
    """Return an upload of five bytes that has just begun, and is given up after a day."""
    return File(
        id=FileId(a_uuid()),
        owner=owner,
        name=FileName("note.txt"),
        media_type=MediaType("text/plain"),
        size=5,
        created_at=A_MOMENT,
        expires_at=A_MOMENT + timedelta(days=1),
        urls_until=A_MOMENT + timedelta(minutes=15),
    )
