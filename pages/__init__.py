"""Draw pages from stored JSON and Parquet: pure functions that return HTML and SVG."""
