"""What surrounds a training loop: loggers, checkpoints, curriculum and seeding."""
