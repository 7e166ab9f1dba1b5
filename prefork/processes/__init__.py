"""The processes of the server: master, mold, worker. The only files that own a loop."""
