"""The schedulers that are compared, one module each, each run in a process of its own. No module imports another's."""
