"""What a job looks like: text and HTML of its numbers, for notebooks and for shells."""
