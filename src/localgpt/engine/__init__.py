"""The token engine: many answers at once over a static cache, in one worker thread; it knows no server."""
