"""Evaluation on data sets: their figures, and the report of them."""
