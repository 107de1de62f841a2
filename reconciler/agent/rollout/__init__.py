"""A new specification on its way: whether services are healthy, batch after batch, and the way back."""
