"""The rules of Portico, in pure Python: no I/O, no clock, no framework."""
