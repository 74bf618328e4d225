"""The parts of `quality_paint.py`: prompts, what counts as painted, sheets."""
