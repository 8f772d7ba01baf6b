"""Passwords, keys and tokens: argon2, RSA and the strict JWT wrapper."""
