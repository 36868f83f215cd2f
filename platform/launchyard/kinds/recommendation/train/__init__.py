"""Training of a recommender, and the files that serve it."""
