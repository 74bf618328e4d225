"""Models of other servers: requests for `upstream:NAME/MODEL` go on to one that speaks the OpenAI wire."""
