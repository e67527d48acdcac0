"""Sharing: push a bundle to the Hub, pull one into the runs, and the card that goes with it."""
