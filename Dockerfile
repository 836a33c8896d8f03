# syntax=docker/dockerfile:1
# Builds the image. The second command runs the proxy of config/standalone.yaml in it, with the API and Redis on this machine. The
# head of that file describes how to make its two secrets. The container runs as you, because only you may read the file.
#
#   docker build --tag auth-sidecar .
#   docker run --rm --read-only --network host --user "$(id -u)" --env REPORTING_SECRET --volume "$PWD/config:/etc/sidecar:ro" auth-sidecar serve --config /etc/sidecar/standalone.yaml

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sidecar
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
# Wheels only: the sidecar refuses to start with an aiohttp that was built without its C parser.
RUN /opt/sidecar/bin/pip install --only-binary=:all: build hatchling \
 && /opt/sidecar/bin/python -m build --wheel --no-isolation --outdir /wheel . \
 && /opt/sidecar/bin/pip uninstall --yes build hatchling
RUN /opt/sidecar/bin/pip install --only-binary=:all: /wheel/*.whl \
 && /opt/sidecar/bin/python -m compileall -q /opt/sidecar/lib \
 && /opt/sidecar/bin/pip uninstall --yes pip

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="auth-sidecar" \
      org.opencontainers.image.description="OAuth 2.0 in front of an API server that has no authentication" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/sidecar /opt/sidecar
# The sidecar writes no file at run time, so the root file system can be read-only.
ENV PATH=/opt/sidecar/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that the user is not root.
USER 65532:65532
EXPOSE 3030
# The exec form, so that SIGTERM reaches the sidecar itself, which then drains.
ENTRYPOINT ["sidecar"]
CMD ["serve", "--config", "/etc/sidecar/sidecar.yaml"]
