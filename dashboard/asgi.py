"""The front door: model calls go to the data plane, websockets to the live view, pages to Django.

The data plane is asked first and by path alone, so that no middleware, session or query of the
site stands in the way of a token.
"""

import gc
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

from django.core.asgi import get_asgi_application

pages: Any = get_asgi_application()  # loads the apps: what is imported below needs their models

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings

from dashboard.alerts.watch import Watch
from dashboard.live.routing import websocket_urlpatterns
from dashboard.policies.ticker import Ticker
from gateway.asgi import plane
from gateway.exchange import Receive, Scope, Send
from gateway.forwarded import behind

routes: Any = websocket_urlpatterns  # Channels' stubs know no plain list of Django's paths
sockets: Any = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes)))

plane.listen(Ticker())

plane.listen(Watch())

# What is loaded now stays for good.  Looked through by the collector, it stopped the loop for 0.16-0.19 s
# in each burst of 1,000 requests (gc.callbacks, two shared cores), and seven hundred new objects, a few
# requests, were enough to begin a collection.
gc.collect()
gc.freeze()
gc.set_threshold(10_000)


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    kind = scope["type"]
    if kind == "lifespan" or (kind == "http" and plane.serves(scope["path"])):
        await plane(scope, receive, send)
    elif kind == "websocket":
        await sockets(scope, receive, send)
    else:
        await pages(scope, receive, send)


application = behind(site, settings.LANEWAY_TRUSTED_PROXIES)
