"""Planners and what they maximise: planner = f(model, objective), on learned models and on the true dynamics alike."""
