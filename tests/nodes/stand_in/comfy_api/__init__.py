"""Stands in for the folder comfy_api/ of ComfyUI 0.8.0: as much of it as the pack meets."""
