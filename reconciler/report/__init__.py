"""How plans, passes and states are shown: text for people, JSON for machines, events for a log."""
