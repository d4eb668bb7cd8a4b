"""Studies: questions about the method itself, each with rows and one sentence of answer."""
