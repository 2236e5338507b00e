"""Checkpoints on disk: read safely, written in the layout of diffusers."""

from piying.weights.checkpoint import Checkpoint, glance, load, save, weigh

__all__ = ["Checkpoint", "glance", "load", "save", "weigh"]
