"""Tenants, their keys and what they used: the pages of admins and of tenants' own people."""
