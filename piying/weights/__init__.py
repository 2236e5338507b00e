"""Checkpoints on disk: read safely, written in the layout of diffusers."""

from piying.weights.checkpoint import Checkpoint, load, save

__all__ = ["Checkpoint", "load", "save"]
