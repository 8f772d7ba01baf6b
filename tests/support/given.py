"""Rows that a test begins with."""

from application.ports.unit_of_work import UnitOfWorkFactory
from domain.audit_log import AuditEntry
from domain.identity import User
from domain.roles import Role


async def given(uow: UnitOfWorkFactory, *things: User | Role | AuditEntry) -> None:
    """Store users and roles, and put audit entries into the outbox, in one transaction."""
    async with uow() as work:
        for thing in things:
            match thing:
                case User():
                    await work.users.add(thing)
                case Role():
                    await work.roles.add(thing)
                case AuditEntry():
                    await work.outbox.add(thing)
        await work.commit()
