"""The discipline once more, written straight from its formulas: the judge of the real one.

Everything is a list, every question is asked of all requests, nothing is kept that can be worked
out.  It shares no code with ``gateway.core`` but the values that go in and come out.  An edit
re-keys everything at once, so it judges lines of fewer flows than one call re-keys.

    cost c, tag unit = 1000 / weight
    boost(age)   0 before after_s, else min(most, age // step_s)
    level        max(p, min(ceiling, p + boost(age of the flow's head)))
    strict key   (-level, S, seq of head)           rescue key   (max(arrival + W, unparked), seq)
    enter l      S = max(V[l], F[l])
    strict       V[l] = max(V[l], S);  S = F[l] = S + c·1000 // w;  pass_strict += c·r
    rescue                             S = F[l] = S + c·1000 // w;  pass_rescue += c·(1000 - r)
    forgotten    a flow of which nothing waits or runs and no F[l] > V[l]: when it is tells on a merge
    release      F[l] += (c' - c)·1000 // w, S likewise if the flow stands at l
    memory       a low request goes where (footprints in flight) + its own <= 0.95 KV tokens
    owed         Σ max(0, min(reserved - n, waiting)) over tenants that could go; while the free low
                 slots are no more, a low strict pick is theirs, and V stays
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from gateway.core.canary import Canary
from gateway.core.ops import (
    Boost,
    Cancel,
    Dispatch,
    Drain,
    Edit,
    Evict,
    Evicted,
    Expire,
    Move,
    Op,
    Pace,
    Pause,
    Reject,
    Release,
    RemoveBackend,
    Retry,
    SetBackend,
    Submit,
)
from gateway.core.policy import Policy, TenantRules, Tier

Key = tuple[str, str, str]


@dataclass
class Entry:
    op: Submit
    tier: str
    seq: int
    arrived_ms: int
    cost: int
    by: int = 0
    avoid: str = ""
    backend: str | None = None  # None: it waits
    level: int = 0
    weight: int = 0
    paced: int = 0

    @property
    def key(self) -> Key:
        return self.tier, self.op.tenant, self.op.id if self.by else ""


def seq_of(entry: Entry) -> int:
    return entry.seq


@dataclass
class Standing:
    level: int | None = None
    tag: int = 0
    finish: dict[int, int] = field(default_factory=dict)
    parked: bool = False
    unparked_ms: int = 0
    empty: bool = True


@dataclass
class Server:
    limit: int
    held_back: int | None
    open: bool
    kv_tokens: int | None
    removed: bool = False


class Reference:
    def __init__(self, policy: Policy, version: int = 0) -> None:
        self.policy, self.version = policy, version
        self.canary: Canary | None = None
        self.entries: dict[str, Entry] = {}
        self.flows: dict[Key, Standing] = {}
        self.lines: dict[Key, list[Entry]] = {}
        self.clock: dict[int, int] = {}
        self.strict_pass = self.rescue_pass = 0
        self.rescue_active = False
        self.servers: dict[str, Server] = {}
        self.paused: set[str] = set()
        self.draining: set[str] = set()
        self.heirs: dict[str, str] = {}
        self.rate: int | None = None
        self.burst = self.credit = self.credit_ms = 0
        self.seq = self.now_ms = 0

    # What can be worked out

    def waiting(self, tier: str = "", tenant: str = "") -> list[Entry]:
        found = [entry for entry in self.entries.values() if entry.backend is None]
        if tier:
            found = [entry for entry in found if entry.tier == tier]
        if tenant:
            found = [entry for entry in found if entry.op.tenant == tenant]
        return sorted(found, key=seq_of)

    def running(self, tenant: str = "") -> int:
        found = [entry for entry in self.entries.values() if entry.backend is not None]
        if tenant:
            found = [entry for entry in found if entry.op.tenant == tenant]
        return len(found)

    def taken(self, backend: str) -> int:
        """Slots: as many as the engine counts sequences."""
        return sum(e.op.sequences for e in self.entries.values() if e.backend == backend)

    def tier(self, name: str) -> Tier:
        while True:
            for tier in self.policy.tiers:
                if tier.name == name:
                    return tier
            name = self.heirs[name]

    def policy_of(self, tenant: str) -> Policy:
        canary = self.canary
        return canary.policy if canary and tenant in canary.tenants else self.policy

    def tier_of(self, entry: Entry) -> Tier:
        """As its tenant's version has it."""
        tier = self.tier(entry.tier)
        return self.policy_of(entry.op.tenant).tier(tier.name) or tier

    def rules(self, tenant: str) -> TenantRules:
        return self.policy_of(tenant).tenants.get(tenant) or TenantRules()

    def aged_level(self, entry: Entry) -> int:
        tier, ageing = self.tier_of(entry), self.policy_of(entry.op.tenant).ageing
        level = tier.priority
        age_ms = self.now_ms - entry.arrived_ms
        if ageing and tier.ages and age_ms >= ageing.after_s * 1000:
            boost = min(ageing.most, int(age_ms // (ageing.step_s * 1000)))
            level = max(level, min(ageing.ceiling, level + boost))
        return level

    def level(self, entry: Entry) -> int:
        level = self.aged_level(entry)
        if entry.by < 0:
            return max(-10, level + entry.by)
        if entry.by > 0:
            return max(level, min(10, self.rules(entry.op.tenant).ceiling, level + entry.by))
        return level

    def expires_ms(self, entry: Entry) -> int:
        own_ms = entry.arrived_ms + round(self.tier_of(entry).max_wait_s * 1000)
        return own_ms if entry.op.expires_at_ms is None else min(own_ms, entry.op.expires_at_ms)

    def deadline(self, key: Key) -> tuple[int, int]:
        head = self.lines[key][0]
        target_ms = round(self.tier_of(head).target_wait_s * 1000)
        return max(head.arrived_ms + target_ms, self.flows[key].unparked_ms), head.seq

    def threshold(self) -> int:
        return self.policy.ageing.ceiling + 1 if self.policy.ageing else 8

    def held_back(self, server: Server) -> int:
        if server.held_back is not None:
            return server.held_back
        permille = round(self.policy.holdback_share * 1000)
        return max(1, -(-server.limit * permille // 1000)) if permille else 0

    def roomy(self, urgent: bool, footprint: int | None = None) -> list[str]:
        """Where a request of this footprint may go; None asks for a slot alone."""

        def holds(name: str, server: Server) -> bool:
            if urgent or footprint is None or server.kv_tokens is None:
                return True
            filled = sum(e.op.footprint for e in self.entries.values() if e.backend == name)
            return not filled or (filled + footprint) <= server.kv_tokens * 95 // 100

        return sorted(
            name
            for name, server in self.servers.items()
            if server.open
            and self.taken(name) < server.limit + (self.held_back(server) if urgent else 0)
            and holds(name, server)
        )

    def owners(self) -> set[str]:
        """Whose turn it is while all that is free is owed; nobody's while a slot can be lent."""
        newer = self.canary.policy.tenants.keys() if self.canary else set()
        known = sorted(self.policy.tenants.keys() | newer)
        total = sum(self.rules(slug).reserved for slug in known)
        serving = {name: server for name, server in self.servers.items() if server.open}
        base_limit = sum(server.limit for server in serving.values())
        most = min(total, base_limit * 80 // 100)
        owed: dict[str, int] = {}
        for slug in known:
            rules = self.rules(slug)
            if rules.reserved:
                able = [e for e in self.waiting(tenant=slug) if not self.flows[e.key].parked]
                lacking = rules.reserved * most // total - self.running(tenant=slug)
                if min(lacking, len(able)) > 0:
                    owed[slug] = min(lacking, len(able))
        free = sum(max(0, s.limit - self.taken(name)) for name, s in serving.items())
        return set(owed) if free <= sum(owed.values()) else set()

    def choose(self, entry: Entry, urgent: bool, footprint: int) -> str:
        names = self.roomy(urgent, footprint)
        others = [name for name in names if name != entry.avoid]
        names = others or names
        loads = {
            name: self.taken(name) * 1_000_000 // max(1, self.servers[name].limit) for name in names
        }
        if len(names) > 1 and entry.op.prefix:
            own = max(
                names,
                key=lambda n: (
                    blake2b((n + entry.op.prefix).encode(), digest_size=8).digest(),
                    n,
                ),
            )
            serving = [name for name, server in self.servers.items() if server.open]
            taken = sum(self.taken(name) for name in serving)
            total = max(1, sum(self.servers[name].limit for name in serving))
            if loads[own] <= taken * 1_000_000 // total + 150_000:
                return own
        return min(names, key=lambda name: (loads[name], name))

    # What follows

    def apply(self, ops: Iterable[Op], now_ms: int) -> list[tuple[object, ...]]:
        self.now_ms = now_ms
        self.out: list[tuple[object, ...]] = []
        if self.rate is not None and now_ms > self.credit_ms:
            self.credit = min(self.burst, self.credit + self.rate * (now_ms - self.credit_ms))
        self.credit_ms = now_ms
        self.refresh()
        while True:
            due = [e for e in self.waiting() if self.expires_ms(e) <= now_ms]
            if not due:
                break
            self.expire(min(due, key=lambda e: (self.expires_ms(e), e.seq)))
        for op in ops:
            getattr(self, "on_" + type(op).__name__.lower())(op)
        self.dispatch()
        if not self.entries:
            self.flows, self.lines, self.clock, self.rescue_active = {}, {}, {}, False
            least = min(self.strict_pass, self.rescue_pass)
            self.strict_pass -= least
            self.rescue_pass -= least
        return self.out

    def refresh(self) -> None:
        """Stand every flow where it belongs; called after every change to what waits or runs."""
        before, self.lines = self.lines, {}
        running: dict[str, int] = {}
        in_tier: dict[tuple[str, str], int] = {}
        for entry in self.entries.values():
            if entry.backend is None:
                self.lines.setdefault(entry.key, []).append(entry)
            else:
                slug = entry.op.tenant
                running[slug] = running.get(slug, 0) + 1
                in_tier[slug, entry.tier] = in_tier.get((slug, entry.tier), 0) + 1
        for key in before.keys() - self.lines.keys():
            if key in self.flows:
                self.flows[key].level, self.flows[key].empty = None, True
        for key, line in self.lines.items():
            line.sort(key=seq_of)
            flow = self.flows.setdefault(key, Standing())
            rules = self.rules(key[1])
            limits = rules.tier_limits.get(key[0])
            most, lane = rules.max_in_flight, limits.max_in_flight if limits else None
            barred = (
                key[0] in self.paused
                or (most is not None and running.get(key[1], 0) >= most)
                or (lane is not None and in_tier.get((key[1], key[0]), 0) >= lane)
            )
            if flow.empty:
                flow.unparked_ms = 0
            elif flow.parked and not barred:
                flow.unparked_ms = self.now_ms
            flow.empty, flow.parked = False, barred
            level = None if barred else self.level(line[0])
            if level is not None and level != flow.level:
                flow.tag = max(self.clock.get(level, 0), flow.finish.get(level, 0))
            flow.level = level

    def forget(self) -> None:
        known = {entry.key for entry in self.entries.values()}
        self.flows = {
            key: flow
            for key, flow in self.flows.items()
            if key in known
            or any(tag > self.clock.get(level, 0) for level, tag in flow.finish.items())
        }

    def expire(self, entry: Entry) -> None:
        del self.entries[entry.op.id]
        self.out.append(("expire", entry.op.id, self.now_ms - entry.arrived_ms))
        self.refresh()

    def dispatch(self) -> None:
        while True:
            standing = {key: flow for key, flow in self.flows.items() if flow.level is not None}
            if not standing:
                return

            def rank(key: Key, standing: dict[Key, Standing] = standing) -> tuple[int, int, int]:
                return -(standing[key].level or 0), standing[key].tag, self.lines[key][0].seq

            best = min(standing, key=rank)
            urgent = (standing[best].level or 0) >= self.threshold()
            if not urgent and self.rate is not None and self.credit <= 0:
                return
            lane = "strict"
            owners = set() if urgent else self.owners()
            if owners and best[1] not in owners:
                best, lane = min((k for k in standing if k[1] in owners), key=rank), "reserved"
            footprint = self.lines[best][0].op.footprint
            if not self.roomy(urgent, footprint):
                return
            permille = round(self.policy.rescue_share * 1000)
            if permille:
                first = min(standing, key=self.deadline)
                active = self.deadline(first)[0] <= self.now_ms
                if active and not self.rescue_active:
                    self.rescue_pass = max(self.rescue_pass, self.strict_pass)
                self.rescue_active = active
                if active and self.rescue_pass <= self.strict_pass:
                    best, lane = first, "rescue"
            self.send(best, lane, urgent, footprint, permille)

    def send(self, key: Key, lane: str, urgent: bool, footprint: int, permille: int) -> None:
        flow, entry = self.flows[key], self.lines[key][0]
        level = flow.level
        assert level is not None
        backend = self.choose(entry, urgent, footprint)
        entry.backend, entry.level = backend, level
        entry.weight = self.rules(key[1]).weight
        if level < self.threshold() and self.rate is not None:
            entry.paced = entry.op.prompt_tokens
            self.credit -= 1000 * entry.paced
        else:
            entry.paced = 0
        if lane == "strict":
            self.clock[level] = max(self.clock.get(level, 0), flow.tag)
        if lane == "rescue":
            self.rescue_pass += entry.cost * (1000 - permille)
        else:
            self.strict_pass += entry.cost * permille
        flow.tag = flow.finish[level] = flow.tag + entry.cost * 1000 // entry.weight
        boost = level - self.tier_of(entry).priority
        canary = self.canary
        version = canary.version if canary and key[1] in canary.tenants else self.version
        waited_ms = self.now_ms - entry.arrived_ms
        priority = 10 if lane == "rescue" else level
        by_hand = level - self.aged_level(entry)
        self.out.append(
            ("dispatch", entry.op.id, backend, priority, lane, waited_ms, boost, version, by_hand)
        )
        self.refresh()

    # Operations

    def on_submit(self, op: Submit) -> None:
        tier, rules, cost = self.tier(op.tier), self.rules(op.tenant), max(1, op.cost)

        def over() -> str:
            if rules.max_waiting is not None and len(self.waiting(tenant=op.tenant)) >= (
                rules.max_waiting
            ):
                return "tenant_queue_full"
            line, tokens = self.waiting(tier=tier.name), tier.max_waiting_tokens
            if len(line) >= tier.max_waiting:
                return "queue_full"
            if line and tokens is not None and sum(e.cost for e in line) + cost > tokens:
                return "queue_full"
            return "displaced" if len(self.waiting()) >= self.policy.max_waiting else ""

        if tier.name in self.draining:
            self.out.append(("reject", op.id, "tier_draining"))
            return
        if over():
            self.dispatch()
        code = over()
        if code == "displaced":
            below = [e for e in self.waiting() if self.tier(e.tier).priority < tier.priority]
            if not below:
                code = "queue_full"
            else:
                lowest = min(self.tier(e.tier).priority for e in below)
                newest = max(
                    (e for e in below if self.tier(e.tier).priority == lowest),
                    key=lambda e: (e.arrived_ms, e.seq),
                )
                del self.entries[newest.op.id]
                self.out.append(("reject", newest.op.id, "displaced"))
                self.refresh()
                code = ""
        if code:
            self.out.append(("reject", op.id, code))
            return
        self.seq += 1
        arrived_ms = self.now_ms if op.arrived_ms is None else op.arrived_ms
        self.line_up(Entry(op, tier.name, self.seq, arrived_ms, cost, avoid=op.avoid))

    def line_up(self, entry: Entry) -> None:
        self.entries[entry.op.id] = entry
        self.refresh()
        if self.expires_ms(entry) <= self.now_ms:
            self.expire(entry)

    def free(self, entry: Entry, cost: int | None) -> None:
        flow = self.flows[entry.key]
        if cost is not None:
            change = (max(0, cost) - entry.cost) * 1000 // entry.weight
            flow.finish[entry.level] = flow.finish.get(entry.level, 0) + change
            if flow.level == entry.level:
                flow.tag += change
        if self.rate is not None:
            self.credit += 1000 * entry.paced
        del self.entries[entry.op.id]
        backend = entry.backend or ""
        if self.servers[backend].removed and not self.taken(backend):
            del self.servers[backend]
        self.refresh()

    def on_release(self, op: Release) -> None:
        entry = self.entries.get(op.id)
        if entry and entry.backend is not None:
            self.free(entry, op.cost)

    def on_cancel(self, op: Cancel) -> None:
        entry = self.entries.get(op.id)
        if entry and entry.backend is not None:
            self.free(entry, op.cost)
        elif entry:
            del self.entries[op.id]
            self.refresh()

    def on_retry(self, op: Retry) -> None:
        entry = self.entries.get(op.id)
        if entry and entry.backend is not None:
            self.free(entry, 0)
            entry.backend, entry.avoid = None, op.avoid
            self.line_up(entry)

    def on_evict(self, op: Evict) -> None:
        entry = self.entries.get(op.id)
        if entry and entry.backend is None:
            del self.entries[op.id]
            self.out.append(("evicted", op.id))
            self.refresh()

    def on_boost(self, op: Boost) -> None:
        entry = self.entries.get(op.id)
        if entry and entry.backend is None:
            entry.by = max(-5, min(5, op.by))
            self.refresh()

    def on_move(self, op: Move) -> None:
        entry = self.entries.get(op.id)
        known = {tier.name for tier in self.policy.tiers} | self.heirs.keys()
        if entry and entry.backend is None and op.tier in known:
            tier = self.tier(op.tier).name
            if tier != entry.tier:
                entry.tier = tier
                self.line_up(entry)

    def on_setbackend(self, op: SetBackend) -> None:
        self.servers[op.name] = Server(op.limit, op.held_back, op.open, op.kv_tokens)

    def on_removebackend(self, op: RemoveBackend) -> None:
        if op.name in self.servers:
            self.servers[op.name].open = False
            self.servers[op.name].removed = True
            if not self.taken(op.name):
                del self.servers[op.name]

    def on_pause(self, op: Pause) -> None:
        if any(tier.name == op.tier for tier in self.policy.tiers):
            (self.paused.add if op.paused else self.paused.discard)(op.tier)
            self.refresh()

    def on_drain(self, op: Drain) -> None:
        if any(tier.name == op.tier for tier in self.policy.tiers):
            (self.draining.add if op.draining else self.draining.discard)(op.tier)

    def on_pace(self, op: Pace) -> None:
        if self.rate is None:
            self.credit = op.burst_tokens * 1000
        self.rate, self.burst = op.rate_tokens_per_s, op.burst_tokens * 1000

    def on_edit(self, op: Edit) -> None:
        self.forget()
        before, self.policy, self.version = self.policy, op.policy, op.version
        self.canary = op.canary
        names = {tier.name for tier in op.policy.tiers}
        for name in names:
            self.heirs.pop(name, None)
        for tier in before.tiers:
            if tier.name in names:
                continue
            self.paused.discard(tier.name)
            self.draining.discard(tier.name)
            below = [t for t in op.policy.tiers if t.priority <= tier.priority]
            heir = (
                max(below, key=lambda t: t.priority)
                if below
                else (min(op.policy.tiers, key=lambda t: t.priority))
            )
            self.heirs[tier.name] = heir.name
            for key in [key for key in self.flows if key[0] == tier.name]:
                gone = self.flows.pop(key)
                joined = self.flows.setdefault((heir.name, key[1], key[2]), Standing())
                for level, tag in gone.finish.items():
                    joined.finish[level] = max(tag, joined.finish.get(level, 0))
                    if level == joined.level and tag > self.clock.get(level, 0):
                        joined.tag = max(joined.tag, tag)
        for entry in self.entries.values():
            entry.tier = self.tier(entry.tier).name
        self.refresh()


def as_row(decision: object) -> tuple[object, ...]:
    """A decision as the reference writes it; ``until_room_ms`` is an estimate and left out."""
    match decision:
        case Dispatch():
            return ("dispatch", *decision)
        case Reject():
            return ("reject", decision.id, decision.code)
        case Expire():
            return ("expire", *decision)
        case Evicted():
            return ("evicted", decision.id)
    raise TypeError(decision)
