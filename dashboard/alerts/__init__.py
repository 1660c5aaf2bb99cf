"""Alerts: the rules that judge every frame, what fires, who was told, who took it on."""
