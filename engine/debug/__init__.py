"""Stopping a run where it matters: expressions over a moment of it, points, and the debugger. No torch."""
