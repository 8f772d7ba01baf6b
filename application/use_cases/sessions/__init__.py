"""Log-in, the rotation of refresh tokens, devices, log-out, and keys. No rule about passwords: `identity`."""
