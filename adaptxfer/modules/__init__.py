"""Modules on a frozen encoder: methods, compositions, heads, and bundles that keep them together."""
