"""Training: optimizers, schedules, losses, packing and checkpoints. Knows no recipe and no server."""
