"""An existing Dask cluster as the place where code runs: functions, and rows that its scheduler keeps."""
