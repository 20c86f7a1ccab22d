"""Construction of objects from records, and the run folder."""
