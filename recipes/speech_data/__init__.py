"""Speech with its sounds, and what a recogniser knows of words, made from the raw sets and from synthesisers.

Two steps, so that the second can be made where there are many cores and no network:
`python -m recipes.speech_data texts --data DATA --out PACK` chooses what is spoken and counts words (it needs
pypinyin); `python -m recipes.speech_data sound --data DATA --pack PACK --out OUT` decodes, speaks and packs.
"""
