"""From scores of sounds to words: a list of words, a small model of their order, and the search over both."""
