"""Learners for any Gymnasium environment: REINFORCE with a world-model loss, world models, planners, IRL."""
