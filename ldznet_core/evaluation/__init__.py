"""Measurement: masks, pictures, layers and costs, on held-out scenes and on data sets."""
