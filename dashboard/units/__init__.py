"""Numbers for people: ``shown`` as they read them, ``typed`` as they write them."""
