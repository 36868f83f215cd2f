"""Feature sets as plain models: their rows, and publishing them."""
