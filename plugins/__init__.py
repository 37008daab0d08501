"""The plugin contract, the loader, and the built-in plugins, which come in by the same door as anyone's."""
