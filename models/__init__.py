"""The small trained models that ship with the project, and the scripts that made and measured them."""
