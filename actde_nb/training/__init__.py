"""The training loop, and the table of algorithms that it trains with."""
