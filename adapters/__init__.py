"""The ports kept with real technology, one package each. Adapters never call use cases."""
