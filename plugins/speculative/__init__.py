"""Speculative decoding: plugins that draft tokens for the model to verify."""
