"""The wire shapes: pydantic models of every request and response body, one module per endpoint family."""
