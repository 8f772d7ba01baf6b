"""Files: what they are, how they are uploaded, and when they are gone. No bytes, no store."""
