"""A small multilingual encoder: how it is trained, judged, and used for a miniature of the paper."""
