from django.urls import path

from dashboard.live.consumers import BoardConsumer, LiveConsumer

websocket_urlpatterns = [
    path("ws/live/", LiveConsumer.as_asgi()),  # type: ignore[arg-type] # the stubs know views only
    path("live/board/socket/", BoardConsumer.as_asgi()),  # type: ignore[arg-type]
]
