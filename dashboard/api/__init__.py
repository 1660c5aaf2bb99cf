"""The management API below ``/api/v1``: what the pages do to tenants, keys and the policy, for programs.

It calls the functions that the pages call and has no rules of its own.
"""
