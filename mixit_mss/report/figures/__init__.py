"""Figures: PNG by Matplotlib for RESULTS.md, SVG for the page."""
