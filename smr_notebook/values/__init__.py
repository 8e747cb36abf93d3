"""The small nouns and rules that others are made of: plain values, without a clock and without a store."""
