"""The HTTP face: `start_api` as published, and `create_app` for those who bring their own server.

Importing this loads no model library: torch, Pillow and PyAV stay out until a service is built.
"""

from localgpt.server.app import create_app
from localgpt.server.start import serve, start_api

__all__ = ["create_app", "serve", "start_api"]
