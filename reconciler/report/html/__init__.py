"""A report as one HTML file: it needs no network, and everything of others in it is text."""
