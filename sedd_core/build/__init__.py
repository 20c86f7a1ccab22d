"""From records to objects, and the folder of a run."""
