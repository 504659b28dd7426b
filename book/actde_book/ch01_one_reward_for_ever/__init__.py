"""What only the page ``01_one_reward_for_ever`` needs."""
