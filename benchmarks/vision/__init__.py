"""Parts of `quality_vision`: batched answers about pictures, questions, judging, scores."""
