"""The guard, roles, and the commit of access changes. Their rules belong to `domain.access` and `domain.roles`."""
