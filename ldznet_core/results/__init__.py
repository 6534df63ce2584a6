"""Masks of pictures on disk: which pictures, in which folders, as which files."""
