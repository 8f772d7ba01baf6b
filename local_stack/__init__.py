"""The local stack: database servers from PyPI wheels, for a laptop and for the tests."""
