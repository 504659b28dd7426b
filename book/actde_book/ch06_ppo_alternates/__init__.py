"""How fast one logit gap climbs under Adam."""
