"""Show a recipe run: one HTML page, its plots, and a table for the console."""
