"""What the commands of `main.py` do. Nothing here imports torch before a model is to be loaded."""

VERSION = "0.1.0"
