"""Figures: what was found, drawn on pictures, and the course of a training run."""
