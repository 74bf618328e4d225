"""Getting, checking and removing open models while a server runs; loads neither torch nor transformers."""
