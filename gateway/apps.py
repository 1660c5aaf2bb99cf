"""The gateway as a Django app: its rows, its commands, its tasks."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = "Gateway"
