"""Who a row is about without saying so, and forgetting them."""
