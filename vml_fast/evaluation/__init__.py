"""Pictures, metrics and figures: what goes into a restoration and how good it is."""
