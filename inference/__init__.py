"""Trained networks at work. Imports `models` and `data_prep`; neither imports it back."""
