"""Algorithms over model outputs; the networks themselves are in `localgpt.models`."""
