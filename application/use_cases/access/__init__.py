"""The guard, the one way to change what somebody may do, and roles. What a role is: `domain.access`."""
