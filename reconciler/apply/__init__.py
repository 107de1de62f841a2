"""Carries a plan out. It decides nothing that the plan has not decided, and checks each step's ground again."""
