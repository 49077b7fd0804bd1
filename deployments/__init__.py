"""How the flows are deployed: schedules, triggers, serving."""
