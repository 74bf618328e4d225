"""`/v1/realtime`: spoken conversations over a WebSocket."""
