"""Recordings and texts for the voice: `python -m recipes.voice_data`."""
