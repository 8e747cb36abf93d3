"""The notebook: the only place that knows IPython and ipywidgets. `extension` is its door."""
