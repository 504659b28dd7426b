"""Learning: from a rollout to an update, one loop for every algorithm and world."""
