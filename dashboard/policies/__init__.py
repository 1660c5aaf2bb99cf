"""Policies in the browser: draft, review, publish, roll back.  What a policy means is the core's."""
