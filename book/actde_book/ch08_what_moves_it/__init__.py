"""An update's push on the logit gap, split up by its causes."""
