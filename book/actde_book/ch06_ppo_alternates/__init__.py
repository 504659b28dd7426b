"""What only the page ``06_ppo_alternates`` needs."""
