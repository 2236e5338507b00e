"""Footage becomes clips with captions: what a training reads."""
