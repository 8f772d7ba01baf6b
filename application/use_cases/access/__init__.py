"""The guard, roles, and the commit of access changes. Rules of roles belong to `domain.access`."""
