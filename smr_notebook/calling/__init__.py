"""Calls of functions as jobs: an executor of the standard library's kind, and what finds its calls again."""
