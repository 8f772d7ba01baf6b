"""Every driven port in memory, with the semantics of the real adapter: for tests and demos."""
