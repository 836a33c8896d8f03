"""The part of the composition that serves people: users, sessions, the login and consent pages, and what they lead to."""

import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from sidecar.config import settings as config
from sidecar.core.events import Listener
from sidecar.core.oauth.clients import ClientRegistry
from sidecar.core.oauth.users import User, UserDirectory
from sidecar.core.ports import Store
from sidecar.core.replies import Endpoint
from sidecar.core.tokens import TokenRules
from sidecar.oauth.endpoints.authorize import AuthorizeEndpoint
from sidecar.oauth.endpoints.logout import LogoutEndpoint
from sidecar.oauth.grants.authorization_code import AuthorizationCodes
from sidecar.oauth.login.consents import Consents
from sidecar.oauth.login.pages import Pages
from sidecar.oauth.login.passwords import Logins, Throttle
from sidecar.oauth.login.sessions import Sessions

AUTHORIZE_PATH: Final = "/oauth/authorize"
LOGOUT_PATH: Final = "/oauth/logout"


class People:
    """The endpoints that a browser sees, and `codes`, the handler of what comes of them at the token endpoint."""

    def __init__(
        self,
        settings: config.Settings,
        *,
        clients: ClientRegistry,
        rules: TokenRules,
        store: Store,
        ended: Callable[[str, str, float], bool],
        throttle: Throttle,
        emit: Listener,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        login = settings.login
        issuer = urlsplit(settings.tokens.issuer)
        users = UserDirectory(map(_user, settings.users), key=secrets.token_bytes(32))
        self.find_user = users.find
        self._logins = Logins(users, throttle)
        pages = Pages(
            login.templates_dir,
            site=login.site or issuer.hostname or settings.tokens.issuer,
            scopes=login.scopes,
            form_action=login.form_action,
        )
        sessions = Sessions(
            store,
            secure=issuer.scheme != "http",
            ttl=int(login.session_ttl),
            clock=clock,
            new_secret=new_secret,
            ended=lambda username, since: ended("", username, since),
        )
        consents = Consents(
            store,
            ttl=int(login.consent_ttl),
            clock=clock,
            ended=lambda username, client_id, since: ended(client_id, username, since),
        )
        self.codes = AuthorizationCodes(
            store,
            users,
            ttl=int(login.code_ttl),
            clock=clock,
            new_code=new_secret,
            emit=emit,
        )
        self.endpoints: dict[str, Endpoint] = {
            AUTHORIZE_PATH: AuthorizeEndpoint(
                clients=clients,
                users=users,
                sessions=sessions,
                logins=self._logins,
                consents=consents,
                codes=self.codes,
                pages=pages,
                rules=rules,
                tapdata=settings.compat == "tapdata",
                emit=emit,
                clock=clock,
                new_id=new_id,
            ),
            LOGOUT_PATH: LogoutEndpoint(sessions=sessions, pages=pages, emit=emit),
        }

    def close(self) -> None:
        """End the thread that checks passwords."""
        self._logins.close()


def _user(user: config.User) -> User:
    return User(user.username, user.password_hash.get_secret_value(), user.roles, user.scope, user.disabled)


def new_secret() -> str:
    """256 random bits in base64url."""
    return secrets.token_urlsafe(32)
