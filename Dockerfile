# One image for ingest, worker and the operator's commands.

FROM rust:1-slim-bookworm AS build
# The image brings a C compiler, which is all that the bundled SQLite and ring need.
WORKDIR /src
COPY . .
# The caches outlive the build, so a second one compiles only what changed. What is kept must leave the cache folder.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --profile dist --locked -p tidegate -p tidegate-ingest -p tidegate-worker \
    && mkdir -p /out \
    && cp target/dist/tidegate target/dist/tidegate-ingest target/dist/tidegate-worker /out/

# The same Debian as the build, so the same C library. It has bash, which the health checks of docker-compose.yml use.
FROM debian:bookworm-slim
# For `forward` to https:// targets.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
COPY deploy/tidegate.docker.toml /etc/tidegate/tidegate.toml
# For `tidegate dev --data /var/lib/tidegate`; a volume that is mounted here takes over the owner.
RUN install -d -m 0700 -o 10001 -g 10001 /var/lib/tidegate
USER 10001:10001
# Where every program finds its tidegate.toml without --config.
WORKDIR /etc/tidegate
EXPOSE 3000 3001
CMD ["tidegate-ingest"]
