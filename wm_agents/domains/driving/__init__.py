"""The racing car for learners: its world model, planner, risk and decision trace."""
