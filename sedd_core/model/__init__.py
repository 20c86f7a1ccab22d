"""The model as samplers and evaluators call it."""
