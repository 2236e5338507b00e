"""What a prompt says, before a model reads it."""
