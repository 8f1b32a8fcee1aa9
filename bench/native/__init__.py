"""Small C programs for measurements, compiled when a benchmark needs them."""
