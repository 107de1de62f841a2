"""Slurm: what its reservations say of maintenance."""
