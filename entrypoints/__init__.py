"""How the world reaches the use cases. Parse, call, present; no rule and no store."""
