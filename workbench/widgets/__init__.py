"""The panes every view is made of: line-drawn widgets over models that are read lazily by index."""
