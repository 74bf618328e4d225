"""Getting checkpoints from a hub that speaks the Hugging Face API, and keeping them.

Nothing is fetched but by `pull`. Only the standard library, httpx and filelock are needed; neither torch nor
transformers is loaded.
"""
