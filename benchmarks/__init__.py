"""Each figure of the product beside its reference, in one run: `make bench`. Nothing of the product imports this."""
