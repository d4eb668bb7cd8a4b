"""Arms × seeds, and the verdict."""
