"""Stable-Baselines3: our vector environments as its `VecEnv`, and checkpoints of its algorithms."""
