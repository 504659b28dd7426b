"""What only the page ``11_ppo_awr_apa`` needs."""
