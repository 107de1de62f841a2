"""Text for people: what happens, why, and what to do next, on one screen of 80 columns."""
