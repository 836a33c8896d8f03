"""Header fields that only a proxy may set. Servers and frameworks read from them who the client is, and what it asked for.

If an untrusted client could set them, an API would act on a false address, host or certificate, or on another path than the one
that the route policy checked.

Rules:
- They are `X-Forwarded-*` with any suffix, and the names below, in the spelling of the software that reads them.
  `proxy_headers` in the configuration adds more.
- A field whose name is not one of them, but folds to one, is always dropped.
"""

from typing import Final

PREFIX: Final = b"x-forwarded-"

PROXY_HEADERS: Final = frozenset(
    b" ".join([
        # Who the client is.
        b"forwarded",  # RFC 7239
        b"x-forwarded forwarded-for client-ip",  # django-ipware, request-ip, PHP applications (HTTP_CLIENT_IP)
        b"x-client-ip x-cluster-client-ip",  # django-ipware, request-ip
        b"x-real-ip",  # nginx realip, chi, Gin, Echo
        b"true-client-ip",  # Akamai, Cloudflare; chi
        b"cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4",  # Cloudflare
        b"fastly-client-ip fly-client-ip do-connecting-ip",  # Fastly, Fly.io, DigitalOcean
        b"x-azure-clientip x-azure-socketip",  # Azure Front Door
        b"proxy-client-ip wl-proxy-client-ip",  # WebLogic's plug-in
        b"x-original-for x-original-forwarded-for",  # ASP.NET Core, ingress-nginx
        b"x-envoy-external-address x-envoy-internal",  # Envoy
        # What it asked for.
        b"x-original-url x-rewrite-url",  # IIS; Symfony, Zend and Laminas routed by them (CVE-2018-14773)
        b"x-original-uri x-original-method x-scheme",  # ingress-nginx
        b"x-original-host x-original-proto x-original-prefix",  # ASP.NET Core
        b"x-envoy-original-path x-envoy-original-host x-envoy-original-dst-host",  # Envoy
        b"script_name path_info",  # gunicorn removes the first from the path that it routes, if a peer on loopback sends it
        b"x-script-name",  # CherryPy and Flask behind a prefix
        b"x-host x-http-host-override",  # PortSwigger, host header attacks
        b"x-url-scheme front-end-https",  # MDN, X-Forwarded-Proto
        b"x-arr-ssl wl-proxy-ssl cloudfront-forwarded-proto",  # IIS, WebLogic, CloudFront
        b"x-sendfile-type x-accel-mapping",  # Rack uses them to send files (CVE-2025-61780)
        # Which certificate it showed.
        b"client-cert client-cert-chain",  # RFC 9440 section 2.4
        b"ssl-client-cert ssl-client-verify ssl-client-subject-dn ssl-client-issuer-dn",  # ingress-nginx
        b"x-arr-clientcert wl-proxy-client-cert",  # Azure, WebLogic
    ]).split()
)  # fmt: skip
