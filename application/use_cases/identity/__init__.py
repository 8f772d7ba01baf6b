"""Users as themselves and as administrators see them; registration, passwords, the first administrator."""
