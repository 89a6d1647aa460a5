"""The command-line tools: thin modules that turn flags into one call of the package each."""
