"""The debugger over a record: values at any step, and the way back to where something happened."""
