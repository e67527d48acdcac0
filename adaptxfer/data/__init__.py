"""From examples to packed batches: features per kind, their cache, batching, decoding and sampling."""
