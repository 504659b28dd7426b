"""Where training with a KL penalty rests, and the likeliest words on the way."""
