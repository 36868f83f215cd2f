"""What kinds of texts share: cleaning, base models, the graphs that serve them."""
