"""Recipes, one YAML file each. A package only so that they are installed with the code."""
