"""Built-in aggregations as folds: values to states to results, over all groups of a block at once."""
