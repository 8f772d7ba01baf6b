"""Driven ports, one module per capability; each method's docstring is its promise."""
