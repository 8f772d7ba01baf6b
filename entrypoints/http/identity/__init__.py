"""Users over HTTP: as they see themselves, and as administrators see them."""
