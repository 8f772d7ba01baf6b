"""Rows of `roles` as roles, and back."""

from typing import Any

from sqlalchemy import Row

from adapters.postgres.user_tables import roles
from domain.grants import stored_grants
from domain.roles import Role, RoleCode, RoleId, RoleStatus, RoleSummary

SUMMARY_COLUMNS = tuple(c for c in roles.c if c.name not in {"grants", "buttons", "routers"})
"""All but the permissions of a role."""


def to_row(role: Role) -> dict[str, Any]:
    """Return the columns that hold `role`."""
    return {
        **summary_to_row(role.summary()),
        "grants": sorted(grant.value for grant in role.grants),
        "buttons": sorted(role.buttons),
        "routers": sorted(role.routers),
    }


def summary_to_row(role: RoleSummary) -> dict[str, Any]:
    """Return the columns of `role` without its permissions."""
    return {
        "id": role.id,
        "code": role.code.value,
        "name": role.name,
        "name_key": role.name_key,
        "description": role.description,
        "status": role.status.value,
        "created_at": role.created_at,
        "updated_at": role.updated_at,
    }


def to_role(row: Row[Any]) -> Role:
    """Return the role that a row of `roles` holds."""
    return Role(
        id=RoleId(row.id),
        code=RoleCode(row.code),
        name=row.name,
        description=row.description,
        status=RoleStatus(row.status),
        grants=frozenset(stored_grants(row.grants)),
        buttons=frozenset(row.buttons),
        routers=frozenset(row.routers),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def to_summary(row: Row[Any]) -> RoleSummary:
    """Return the summary of the role in a row of `roles`."""
    return RoleSummary(
        id=RoleId(row.id),
        code=RoleCode(row.code),
        name=row.name,
        description=row.description,
        status=RoleStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
