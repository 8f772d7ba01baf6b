"""Ports kept with Pillow: images from outside. Imported when the first image arrives."""
