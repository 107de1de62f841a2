"""Changes of a desired-state repo, prepared as a commit on a branch: bump, promote, roll back. Nothing is pushed."""
