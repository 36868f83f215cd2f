"""A trained recommender as serving loads it."""
