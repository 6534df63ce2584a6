"""Evaluation on data sets: their readers, their figures, and the report of them."""
