"""One verb per class; its fields are ports. No framework, no technology."""
