"""Where a picture came from, told in its file: see `label`."""
