"""Run folders and what is read from them: store, locks, scores, records."""
