"""Stands in for what the page asks of A1111 1.10.1."""
