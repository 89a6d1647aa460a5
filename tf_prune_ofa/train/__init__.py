"""One fit with resume, its optimizer, its records, and evaluation."""
