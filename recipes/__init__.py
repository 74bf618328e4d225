"""Training recipes: one function a run, repeatable by one command given the data."""
