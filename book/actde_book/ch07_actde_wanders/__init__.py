"""What only the page ``07_actde_wanders`` needs."""
