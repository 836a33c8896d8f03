# syntax=docker/dockerfile:1
# Builds the image. The second command runs the proxy of config/standalone.yaml in it, with the API and Redis on this machine. The
# head of that file describes how to make its two secrets. The container runs as you, because only you may read the file.
#
#   docker build --tag auth-sidecar .
#   docker run --rm --read-only --network host --user "$(id -u)" --env REPORTING_SECRET --volume "$PWD/config:/etc/sidecar:ro" auth-sidecar serve --config /etc/sidecar/standalone.yaml
#
# For a release, name the base by its digest, the commit and its time. The same arguments then give the same files:
#
#   --build-arg BASE=docker.io/library/python:3.13-slim-trixie@sha256:… --build-arg REVISION="$(git rev-parse HEAD)"
#   --build-arg SOURCE=https://… --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
ARG BASE=docker.io/library/python:3.13-slim-trixie

# hadolint ignore=DL3006  the base is an argument, with its tag or digest
FROM ${BASE} AS build
ARG SOURCE_DATE_EPOCH
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The tools that build have an environment of their own, which stays behind. /opt/sidecar gets no pip.
COPY deploy/image/build-requirements.txt deploy/image/requirements.txt ./
RUN python -m venv /opt/build \
 && python -m venv --without-pip /opt/sidecar \
 && /opt/build/bin/pip install --require-hashes --only-binary=:all: --requirement build-requirements.txt \
# Wheels only: the sidecar refuses to start with an aiohttp that was built without its C parser.
 && /opt/build/bin/pip --python /opt/sidecar/bin/python install --require-hashes --only-binary=:all: --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
# Then: no commands of libraries, no tests, no sources of C extensions, compiled files that do not depend on times, and one time for all.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/build/bin/pip --python /opt/sidecar/bin/python install --no-deps --no-index /wheel/*.whl \
 && find /opt/sidecar/bin ! -type d ! -name 'python*' ! -name sidecar -delete \
 && find /opt/sidecar/lib -type d \( -name tests -o -name test \) -prune -exec rm -r {} + \
 && find /opt/sidecar/lib -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.c' -o -name '*.h' \) -delete \
 && /opt/sidecar/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/sidecar/lib \
 && find /opt/sidecar -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-$(date +%s)}" {} +

# hadolint ignore=DL3006  the same
FROM ${BASE}
ARG SOURCE="" VERSION=0.1.0 REVISION=""
LABEL org.opencontainers.image.title="auth-sidecar" \
      org.opencontainers.image.description="OAuth 2.0 in front of an API server that has no authentication" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/sidecar /opt/sidecar
# The sidecar writes no file at run time, so the root file system can be read-only.
ENV PATH=/opt/sidecar/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that the user is not root.
USER 65532:65532
EXPOSE 3030 9464
# One short process every half minute: 20 MB and 50 ms of CPU. Kubernetes ignores it. With another admin.listen, switch it off
# (--no-healthcheck) or name the address (--health-cmd).
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-ISc", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 9464, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
# The exec form, so that SIGTERM reaches the sidecar itself, which then drains.
ENTRYPOINT ["sidecar"]
CMD ["serve", "--config", "/etc/sidecar/sidecar.yaml"]
