"""Open checkpoints in the Hugging Face layout, loaded through transformers and diffusers.

`base` says what every one of them is to the rest; each kind of model has a module of its own, which is
imported when the first such model is loaded.
"""

from __future__ import annotations
