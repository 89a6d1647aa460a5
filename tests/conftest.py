"""For all tests. Because of this file pytest puts tests/ on sys.path, for helpers to be found."""
