"""Programs: started, fed, read and ended."""
