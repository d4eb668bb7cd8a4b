"""One fine-tuning with given ranks."""
