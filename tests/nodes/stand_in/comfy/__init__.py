"""Stands in for the folder comfy/ of ComfyUI 0.8.0: as much of it as the pack meets.

Each file names the host's file that it imitates; it was written from what that file does, for
tests on machines without ComfyUI. ``tests/hosts`` runs the pack in the real one.
"""
