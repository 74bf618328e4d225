"""Painting by flow matching: levels of noise, steps between them, and words that keep to their places."""
