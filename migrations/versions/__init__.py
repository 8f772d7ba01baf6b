"""One step each, up and down, by date. A step that has been released is never edited or removed."""
