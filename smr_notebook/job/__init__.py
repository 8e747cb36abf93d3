"""A job that was submitted, as a person holds it: its state, results, errors, logs and early answers."""
