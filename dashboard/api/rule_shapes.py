"""An alert rule as it is sent and answered."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from dashboard.alerts.hours import ALWAYS
from dashboard.alerts.metrics import METRICS
from dashboard.alerts.models import Rule
from dashboard.api.shapes import WORDS, Said

RuleName = Annotated[str, Field(min_length=1, max_length=80, pattern=WORDS)]
Level = Annotated[
    float,
    Field(
        ge=0,
        le=1e9,
        description="In the metric's unit: seconds, shares (0 to 1), counts or times; with "
        "of_target in target waits. 0: any at all. null: this level is not judged.",
    ),
]
Held = Annotated[float, Field(ge=0, le=86_400, description="Seconds.")]
Names = Annotated[list[RuleName], Field(max_length=50, description="Channels, by name.")]
Word = Annotated[str, Field(max_length=63, pattern=WORDS)]


class RuleChange(Said):
    """What is left out stays as it is."""

    name: RuleName = ""
    metric: Word = Field("", description=", ".join(METRICS))
    pool: Word = Field("", description="Empty: each.")
    tier: Word = Field("", description="Empty: each. ^: the most urgent.")
    of_target: bool = False
    warn: Level | None = None
    warn_for_s: Held = 60
    crit: Level | None = None
    crit_for_s: Held = 60
    clear_share: float = Field(0.8, gt=0, le=1, description="Of each level.")
    keep_s: Held = 120
    no_data: Literal["ok", "keep", "alert"] = "ok"
    hours: Annotated[str, Field(max_length=60, pattern=WORDS)] = Field(
        ALWAYS, description="UTC, like mon-fri 08:00-18:00."
    )
    runbook: Annotated[str, Field(max_length=500, pattern=WORDS)] = ""
    hidden_while: RuleName | None = Field(None, description="The rule that explains this one.")
    enabled: bool = True
    warn_channels: Names = []
    crit_channels: Names = []


class NewAlertRule(RuleChange):
    """What is left out is as in a new form."""

    name: RuleName
    metric: Word = Field(description=", ".join(METRICS))


class AlertRule(BaseModel):
    id: int
    name: str
    metric: str
    pool: str
    tier: str
    of_target: bool
    warn: float | None
    warn_for_s: float
    crit: float | None
    crit_for_s: float
    clear_share: float
    keep_s: float
    no_data: Literal["ok", "keep", "alert"]
    hours: str
    runbook: str
    hidden_while: str | None
    enabled: bool
    warn_channels: list[str]
    crit_channels: list[str]
    error: str = Field(description="Why it cannot be judged; empty where it is.")

    @classmethod
    def of(cls, rule: Rule) -> Self:
        plain = {name: getattr(rule, name) for name in cls.model_fields if name not in NAMED}
        return cls(
            **plain,
            hidden_while=rule.hidden_while.name if rule.hidden_while else None,
            warn_channels=sorted(channel.name for channel in rule.warn_channels.all()),
            crit_channels=sorted(channel.name for channel in rule.crit_channels.all()),
        )


NAMED = ("hidden_while", "warn_channels", "crit_channels")


class AlertRules(BaseModel):
    data: list[AlertRule]
