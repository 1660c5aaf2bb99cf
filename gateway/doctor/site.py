"""Facts about the installation itself → findings."""

from collections.abc import Iterator

from gateway.doctor.facts import Site
from gateway.doctor.finding import Finding


def judge(site: Site) -> Iterator[Finding]:
    if site.database_error:
        advice = "Check DATABASE_URL, and that the database runs."
        message = f"It cannot be used: {site.database_error}."
        yield Finding("error", "database", "database", message, advice)
        return
    yield from _database(site)
    yield from _keys(site)
    yield from _services(site)


def _database(site: Site) -> Iterator[Finding]:
    if site.unapplied:
        message = (
            f"{len(site.unapplied)} migrations are not applied, the first is {site.unapplied[0]}."
        )
        yield Finding("error", "database", "migrations", message, "Run manage.py migrate.")
    else:
        yield Finding("ok", "database", "database", "It answers, and its tables are up to date.")
    for what in site.unreadable:
        advice = "Make it anew on its page; what a later version wrote needs that version."
        yield Finding("error", "database", "unreadable", f"A row cannot be read: {what}.", advice)
    if not site.policy_version and not site.unreadable:
        message = "No policy is published, so nobody has a tier."
        yield Finding(
            "error", "policy", "no_policy", message, "Start `manage.py up` once, or publish one."
        )


def _keys(site: Site) -> Iterator[Finding]:
    lost = site.keys_without_pepper
    if lost:
        message = f"{lost} keys were made with a pepper that is gone: they are refused as unknown."
        advice = "Put the old pepper back behind the present one (LANEWAY_PEPPER, or the file), or issue new keys."
        yield Finding("error", "keys", "lost_pepper", message, advice)
    if not site.keys_in_use:
        advice = "Make one on a tenant's page, or by manage.py issuekey TENANT --name NAME."
        yield Finding("warning", "keys", "no_keys", "Nobody has a key.", advice)
    elif not lost:
        n = site.keys_in_use
        message = (
            f"{n} key{' is' if n == 1 else 's are'} in use, and the pepper of each is at hand."
        )
        yield Finding("ok", "keys", "keys", message)


def _services(site: Site) -> Iterator[Finding]:
    if site.gateway_error:
        message = f"It could not be asked: {site.gateway_error}."
        advice = "Start it with manage.py up, with the same PORT and HOST as here."
        yield Finding("warning", "gateway", "not_running", message, advice)
    else:
        yield Finding("ok", "gateway", "running", "It runs and publishes its state.")
    if site.redis_error:
        message = f"It does not answer: {site.redis_error}."
        yield Finding("error", "redis", "redis", message, "Check REDIS_URL, and that Redis runs.")
    elif site.redis_error is not None:
        yield Finding("ok", "redis", "redis", "It answers.")
    if site.workers:
        yield Finding("ok", "celery", "celery", "A worker answers.")
    else:
        message = "No worker answers, so old rows are not pruned."
        advice = "manage.py up starts one; else: celery -A dashboard worker -B."
        yield Finding("warning", "celery", "celery", message, advice)
