"""Pong for learners: a state estimator and a view of the game as objects."""
