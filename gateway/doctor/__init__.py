"""What is wrong here, and what to do about it: ``manage.py doctor`` and the page of that name.

``asking`` and ``looking`` collect facts, over HTTP and from the database; ``servers``, ``traffic``
and ``site`` judge them and do nothing else, so that every finding can be had from made-up facts.
``examine`` is the whole visit.
"""

from gateway.doctor.finding import Finding
from gateway.doctor.visit import Report, examine

__all__ = ["Finding", "Report", "examine"]
