"""Bytes to arrays and back, without any model."""
