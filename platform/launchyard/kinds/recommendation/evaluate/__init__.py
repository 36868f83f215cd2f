"""Measures of a recommender, and what the report shows of it."""
