# syntax=docker/dockerfile:1
# docker build --tag auth-sidecar .
# docker run --read-only --publish 3030:3030 --volume ./config:/etc/sidecar:ro auth-sidecar

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sidecar
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
# Wheels only: an aiohttp that was built without its C parser would refuse to start anyway.
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
# Nothing is written at run time: the root file system can be read-only.
ENV PATH=/opt/sidecar/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 3030
# The exec form: SIGTERM reaches the sidecar itself, which drains.
ENTRYPOINT ["sidecar"]
CMD ["serve", "--config", "/etc/sidecar/sidecar.yaml"]
