"""Log-in, refresh, sessions, log-out and keys. Rules about passwords belong to `identity`."""
