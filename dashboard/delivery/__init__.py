"""Delivery: messages to people, by channels that admins set up.  Whoever has one posts it."""
