"""LoRA and DoRA: read, written, attached to a transformer, merged into it."""
