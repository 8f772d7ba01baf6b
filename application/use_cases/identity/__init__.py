"""Registration, profiles, passwords, the management of users, and the first administrator."""
