"""Picture sets with captions, questions and labels, made from the raw image sets.

`python -m recipes.vision_data --data DATA --out OUT` writes `images_NAME.npy` and `samples_NAME.jsonl`.
"""
