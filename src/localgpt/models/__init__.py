"""The networks: one file per architecture, each with its config dataclass."""
