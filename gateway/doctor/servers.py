"""Facts about model servers → findings.  Version numbers are those of vLLM's releases."""

import re
from collections.abc import Iterable, Iterator

from gateway.doctor.facts import Server
from gateway.doctor.finding import Finding

FIRST_PRIORITY = (0, 6, 3)  # --scheduling-policy appears
FIRST_V1_PRIORITY = (0, 9, 2)  # before it, the V1 engine refuses a priority
FIRST_HEADER = (0, 32)  # X-Vllm-Priority, the only way for /v1/messages
OUR_IDLE_S = 4  # connections are reused until then
SKEW_S = 5.0
SLOW_PROBE_S = 1.0
PRIORITY_FLAG = "--scheduling-policy priority"


def judge(servers: Iterable[Server]) -> Iterator[Finding]:
    for server in servers:
        if server.error:
            yield _unreachable(server)
            continue
        yield from _identity(server)
        yield from _policy(server)
        yield from _capacity(server)
        yield from _settings(server)
        yield from _health(server)


def version_of(text: str) -> tuple[int, ...]:
    """(0, 32, 0) of "0.32.0+cpu"; empty for what starts with no number."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _unreachable(server: Server) -> Finding:
    if "401" in server.error:
        advice = "Set VLLM_API_KEY to one of the keys the server was started with."
    else:
        advice = f"From this machine `curl {server.url}/health` must answer. Start it, or correct its address."
    return Finding(
        "error", server.name, "unreachable", f"It cannot be asked: {server.error}.", advice
    )


def _identity(server: Server) -> Iterator[Finding]:
    version = version_of(server.version)
    if not server.models:
        advice = "Wait until it has loaded its model; its log says how far it is."
        yield Finding("error", server.name, "no_models", "It serves no model.", advice)
    if not version:
        message = "It does not tell its version, so it may be no vLLM."
        advice = "Laneway's limits follow vLLM's metrics; set max_in_flight for other servers."
        yield Finding("warning", server.name, "unknown_version", message, advice)
    elif version < FIRST_PRIORITY:
        message = f"vLLM {server.version} has no priority scheduling."
        yield Finding("error", server.name, "old_version", message, "Upgrade it to 0.9.2 or later.")
    elif version < FIRST_V1_PRIORITY:
        message = f"The V1 engine of vLLM {server.version} refuses requests with a priority."
        advice = "Upgrade to 0.9.2 or later, or state its scheduling policy as FCFS."
        yield Finding("error", server.name, "old_version", message, advice)
    elif version < FIRST_HEADER:
        message = f"vLLM {server.version} cannot be told the priority of /v1/messages."
        advice = (
            "Upgrade to 0.32 if Anthropic clients matter; the order in Laneway's line holds anyway."
        )
        yield Finding("note", server.name, "no_priority_header", message, advice)
    if server.models and version >= FIRST_V1_PRIORITY:
        message = f"vLLM {server.version} serves {', '.join(server.models)}."
        yield Finding("ok", server.name, "serves", message)


def _policy(server: Server) -> Iterator[Finding]:
    told = _by_whom(server)
    if server.policy == "fcfs":
        message = f"It starts requests in order of arrival and ignores every priority ({told})."
        advice = f"Restart it with {PRIORITY_FLAG}. Until then only the order in Laneway's own line holds."
        yield Finding("error", server.name, "fcfs", message, advice)
    elif server.policy == "unknown":
        message = (
            "Nobody knows whether it heeds priorities: vLLM's default ignores them without a word."
        )
        advice = (
            f"Start it with {PRIORITY_FLAG} and state that on the backend, or open /server_info "
            "(VLLM_SERVER_DEV_MODE=1, in a private network only)."
        )
        yield Finding("warning", server.name, "unknown_policy", message, advice)
    else:
        yield Finding("ok", server.name, "priority", f"It schedules by priority ({told}).")


def _by_whom(server: Server) -> str:
    if server.report.policy != "unknown":
        stated = server.declared not in ("unknown", server.report.policy)
        return "it says so itself" + (f", though {server.declared} was stated" if stated else "")
    if server.live and server.live.scheduling_policy not in ("unknown", server.declared):
        return "the order of its starts shows it"
    return "as stated"


def _capacity(server: Server) -> Iterator[Finding]:
    live, most = server.live, server.report.max_num_seqs
    if most is not None:
        yield Finding("ok", server.name, "max_num_seqs", f"It runs at most {most} at once.")
    if server.kv_tokens:
        message = f"Its KV cache holds {server.kv_tokens:,} tokens."
        yield Finding("ok", server.name, "kv_cache", message)
    if live is None or live.engine_waiting is None:
        return
    queued_there = live.engine_waiting > max(4, live.limit // 8)
    too_many = most is not None and live.in_flight > most + max(4, most // 4)
    if queued_there or too_many:
        message = (
            f"{live.engine_waiting} requests wait inside the engine, where Laneway can neither "
            f"reorder nor rescue them ({live.in_flight} in flight, limit {live.limit})."
        )
        wanted = most or max(1, live.in_flight - live.engine_waiting)
        advice = (
            f"Set max_in_flight of the backend to about {wanted + 2}, or clear it to let Laneway "
            "find the limit. If the limit is right, somebody else sends to this server."
        )
        yield Finding("warning", server.name, "engine_queues", message, advice)


def _settings(server: Server) -> Iterator[Finding]:
    report = server.report
    if server.prefix_caching is False:
        advice = (
            "Start it with --enable-prefix-caching: equal prompt heads are then prefilled once."
        )
        yield Finding("note", server.name, "no_prefix_cache", "Its prefix cache is off.", advice)
    if report.queue_backstop is False:
        message = "Nothing bounds its own queue if somebody else sends to it."
        advice = "Add --max-num-queued-reqs, twice max_num_seqs."
        yield Finding("note", server.name, "no_backstop", message, advice)
    if report.long_prefill_token_threshold == 0:
        message = "One long prompt can take whole steps for itself, so urgent ones wait behind it."
        advice = "Add --long-prefill-token-threshold, a quarter of max_num_batched_tokens."
        yield Finding("note", server.name, "long_prefill", message, advice)
    if report.idle_timeout_s is not None and report.idle_timeout_s <= OUR_IDLE_S:
        message = f"It closes idle connections after {report.idle_timeout_s} s."
        advice = (
            f"Set VLLM_HTTP_TIMEOUT_KEEP_ALIVE above {OUR_IDLE_S}: Laneway reuses them until then."
        )
        yield Finding("warning", server.name, "short_keep_alive", message, advice)
    if not server.reports_itself:
        message = "/server_info is closed, so its flags stay unknown here, which is normal."
        yield Finding("ok", server.name, "no_server_info", message)


def _health(server: Server) -> Iterator[Finding]:
    if server.clock_skew_s is not None and abs(server.clock_skew_s) > SKEW_S:
        message = f"Its clock is {server.clock_skew_s:+.0f} s off ours; logs will not fit together."
        yield Finding("note", server.name, "clock", message, "Let NTP set both clocks.")
    if server.probe_error:
        message = f"A probe of one token failed: {server.probe_error}."
        advice = (
            "Its log says why. A model that only embeds has no completions, and that is no fault."
        )
        yield Finding("warning", server.name, "probe_failed", message, advice)
    elif server.ttft_s is not None:
        message = f"A most urgent probe had its token after {server.ttft_s:.2f} s."
        if server.ttft_s <= SLOW_PROBE_S:
            yield Finding("ok", server.name, "probe", message)
            return
        advice = "vLLM preempts nobody for a slot: lower max_num_seqs, or keep more slots back."
        yield Finding("note", server.name, "slow_probe", message, advice)
