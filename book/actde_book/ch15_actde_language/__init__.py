"""What only the page ``15_actde_language`` needs."""
