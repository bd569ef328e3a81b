"""uvicorn, told when to end by the service that it carries."""

from types import FrameType

import uvicorn

from service.lifetime import Lifetime

LAST_ANSWERS_S = 5  # for answers on their way once all work has ended; a silent client gets no more


class Server(uvicorn.Server):
    """A signal to end has the service end its work first; a second one does not wait for that."""

    def __init__(self, config: uvicorn.Config, lifetime: Lifetime) -> None:
        config.timeout_graceful_shutdown = LAST_ANSWERS_S
        super().__init__(config)
        self._lifetime = lifetime
        self._signals: list[int] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; the server looks ten times a second."""
        self._signals.append(sig)
        if len(self._signals) > 1:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now."""
        if self._signals and not self._lifetime.ended:
            grace_s = self._lifetime.settings.grace_s if len(self._signals) == 1 else 0.0
            self._lifetime.end(grace_s)
        return self._lifetime.ended or await super().on_tick(counter)
