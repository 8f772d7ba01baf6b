"""What clients of servers without TLS pass to httpx as `verify`."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no certificate. Without it httpx reads those of the system for each client, which takes 15 ms of CPU."""
