"""What a pass takes away: scratch, old versions, and what launchers have left."""
