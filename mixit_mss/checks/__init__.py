"""Checks of a recipe before its training runs begin."""
