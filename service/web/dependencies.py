"""Dependencies of the routes: the authorised caller, the queue, the media type of the response."""

from typing import Annotated

from fastapi import Depends, Header, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.requests import Request

from service.jobs.queue import Queue
from service.runtime import Runtime
from service.security.access_control import Caller
from service.security.keys import Scope
from service.web.middleware.request_log import record_of
from service.web.negotiation import choose_media_type

bearer = HTTPBearer(
    auto_error=False, description="An API key created by `glioserve keys add`, if the service requires one."
)
NO_HEADER: list[str] = []


async def get_runtime(request: Request) -> Runtime:
    """The app's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_caller(
    request: Request,
    required: SecurityScopes,
    runtime: Annotated[Runtime, Depends(get_runtime)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """The authorised caller. Raises UnauthenticatedError, ForbiddenError or RateLimitError."""
    access_control, [scope] = runtime.access_control, required.scopes
    access_control.check_origin(request.headers.get("origin"), request.headers.get("host", ""))
    caller = access_control.authenticate(credentials.credentials if credentials else None)
    record_of(request).key = caller.key_id  # before authorisation, so that denied requests are logged with their key
    access_control.authorise(caller, Scope(scope))
    return caller


SegmentCaller = Annotated[Caller, Security(get_caller, scopes=[Scope.SEGMENT])]
ReadCaller = Annotated[Caller, Security(get_caller, scopes=[Scope.READ])]


async def get_queue(runtime: Annotated[Runtime, Depends(get_runtime)]) -> Queue:
    """The queue. Raises NotReadyError while the model is loading."""
    return runtime.queue


async def get_media_type(accept: Annotated[list[str], Header(include_in_schema=False)] = NO_HEADER) -> str:
    """The client's preferred media type of the response. Raises NotAcceptableError."""
    return choose_media_type(",".join(accept))


LoadedQueue = Annotated[Queue, Depends(get_queue)]
MediaType = Annotated[str, Depends(get_media_type)]
