"""The responses wire: its items into a chat, the answer into items and events, and what is kept of both."""
