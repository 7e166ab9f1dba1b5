"""Actors: objects of the app in processes of their own."""
