"""The numbered views; each fills one file, and `workbench.views.registry` lists them."""
