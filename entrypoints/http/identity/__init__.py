"""Users over HTTP: one's own account, and the management of other users."""
