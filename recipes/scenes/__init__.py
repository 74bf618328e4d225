"""Rendered scenes: icons on plain, gradient and photographed backgrounds, with all about them known."""
