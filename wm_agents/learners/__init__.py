"""The ways of acting that `WorldModelAgent` learns side by side from one stream of experience."""
