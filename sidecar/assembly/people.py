"""Users, and the pages that a browser shows."""

import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

from sidecar.assembly.living import Living, new_id, new_secret
from sidecar.config import settings as config
from sidecar.core.oauth import endpoint_paths
from sidecar.core.oauth.clients import ClientRegistry
from sidecar.core.oauth.users import User, UserDirectory
from sidecar.core.replies import Endpoint
from sidecar.core.tokens import TokenRules
from sidecar.oauth.endpoints.authorize import AuthorizeEndpoint, Browser
from sidecar.oauth.endpoints.logout import LogoutEndpoint
from sidecar.oauth.grants.authorization_code import AuthorizationCodes
from sidecar.oauth.login.consents import Consents
from sidecar.oauth.login.pages import Pages
from sidecar.oauth.login.passwords import Logins, LoginThrottle
from sidecar.oauth.login.sessions import Sessions


class UserPages(NamedTuple):
    """`codes` handles, at the token endpoint, the codes that the pages issue."""

    users: UserDirectory
    codes: AuthorizationCodes
    endpoints: dict[str, Endpoint]


def people(
    settings: config.Settings, registry: ClientRegistry, rules: TokenRules, living: Living, throttle: LoginThrottle
) -> UserPages:
    """The parts for users, sessions, consents and pages, built from the settings."""
    login = settings.login
    secure = urlsplit(settings.tokens.issuer).scheme != "http"
    users = UserDirectory(map(_user, settings.users), key=secrets.token_bytes(32))
    sessions = Sessions(
        living.store,
        secure=secure,
        ttl=int(login.session_ttl),
        clock=living.clock,
        new_secret=new_secret,
        ended=lambda username, since: living.ended("", username, since),
    )
    consents = Consents(
        living.store,
        ttl=int(login.consent_ttl),
        clock=living.clock,
        ended=lambda username, client_id, since: living.ended(client_id, username, since),
    )
    pages = _pages(settings)
    codes = AuthorizationCodes(
        living.store, users, ttl=int(login.code_ttl), clock=living.clock, new_code=new_secret, emit=living.emit
    )
    authorize = AuthorizeEndpoint(
        registry,
        Browser(users, sessions, Logins(users, throttle, living.passwords), consents, pages),
        codes=codes,
        rules=rules,
        tapdata=settings.compat == "tapdata",
        emit=living.emit,
        clock=living.clock,
        new_id=new_id,
    )
    logout = LogoutEndpoint(sessions=sessions, pages=pages, emit=living.emit)
    return UserPages(users, codes, {endpoint_paths.AUTHORIZE: authorize, endpoint_paths.LOGOUT: logout})


def _pages(settings: config.Settings) -> Pages:
    login, issuer = settings.login, settings.tokens.issuer
    return Pages(
        login.templates_dir,
        site=login.site or urlsplit(issuer).hostname or issuer,
        scopes=login.scopes,
        form_action=login.form_action,
    )


def _user(user: config.User) -> User:
    return User(user.username, user.password_hash.get_secret_value(), user.roles, user.scope, user.disabled)
