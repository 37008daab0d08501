"""The HTML report: what of a session is embedded in the page, and the page itself."""
