"""What routes ask for before they run: who calls, the queue, the form of the answer."""

from typing import Annotated

from fastapi import Depends, Header, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.requests import Request

from service.answer import choose_media_type
from service.door import Caller
from service.keys import Scope
from service.lifetime import Lifetime
from service.queue import Queue

bearer = HTTPBearer(auto_error=False, description="A key that `glioserve keys add` made; none where none is asked for.")
NO_PREFERENCE: list[str] = []


async def get_lifetime(request: Request) -> Lifetime:
    """The app's lifetime."""
    lifetime: Lifetime = request.app.state.lifetime
    return lifetime


async def get_caller(
    request: Request,
    needed: SecurityScopes,
    lifetime: Annotated[Lifetime, Depends(get_lifetime)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Who sent a request; raises UnauthenticatedError, ForbiddenError or RateLimitError."""
    door, [scope] = lifetime.door, needed.scopes
    door.check_page(request.headers.get("origin"), request.headers.get("host", ""))
    caller = door.identify(credentials.credentials if credentials else None)
    request.state.facts["key"] = caller.key_id  # before it may be turned away
    door.admit(caller, Scope(scope))
    return caller


Sender = Annotated[Caller, Security(get_caller, scopes=[Scope.SEGMENT])]
Reader = Annotated[Caller, Security(get_caller, scopes=[Scope.READ])]


async def get_queue(lifetime: Annotated[Lifetime, Depends(get_lifetime)]) -> Queue:
    """The queue; raises NotReadyError before the weights are loaded and warm."""
    return lifetime.queue


async def get_media_type(accept: Annotated[list[str], Header(include_in_schema=False)] = NO_PREFERENCE) -> str:
    """The form of answer that the client likes best; raises NotAcceptableError."""
    return choose_media_type(",".join(accept))


LoadedQueue = Annotated[Queue, Depends(get_queue)]
MediaType = Annotated[str, Depends(get_media_type)]
