"""Sessions: where jobs go, with which settings, and what is said before they go there."""
