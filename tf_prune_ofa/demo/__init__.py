"""A local page to type a text into and to compare two files on it."""
