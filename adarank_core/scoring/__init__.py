"""From a model and texts to scores."""
