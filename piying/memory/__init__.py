"""How a model that is larger than the card runs on it: what lives where, and how the rest gets there in time."""
