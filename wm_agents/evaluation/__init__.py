"""How agents and models are judged: episodes, open-loop error, scorecards and statistics."""
