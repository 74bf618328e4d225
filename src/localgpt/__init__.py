"""LocalGPT: the private ChatGPT for one ordinary computer."""

__version__ = "0.1.0"
