"""From scores to ranks, and to files that other programs read."""
