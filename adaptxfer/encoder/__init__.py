"""Base models: safe loading, identity, and hidden states for packed sequences."""

from adaptxfer.encoder.forward import encode, encode_layers, mean_pool, pad_packed, sequence_mask
from adaptxfer.encoder.load import BaseModel, Encoder, ModelHints, fingerprint, load_encoder

__all__ = [
    "BaseModel",
    "Encoder",
    "ModelHints",
    "encode",
    "encode_layers",
    "fingerprint",
    "load_encoder",
    "mean_pool",
    "pad_packed",
    "sequence_mask",
]
