"""Masks without a trained head, compared with each other, with trained ones and with controls."""
