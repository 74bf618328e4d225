"""Text for the models: vocabulary, tokenizer, and the form of conversations."""

from __future__ import annotations
