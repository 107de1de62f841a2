"""`reconcile demo`: the whole story on one machine, on a supervisord of its own, below one temporary folder."""
