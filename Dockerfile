# The image of ratebus: one binary, no other program is needed at run time.
#   docker build -t ratebus . && docker run -p 3333:3333 -p 3334:3334 -v ratebus:/data ratebus

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
# .dockerignore lists what comes along.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bin ratebus && \
    cp target/dist/ratebus /ratebus

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="ratebus" \
      org.opencontainers.image.description="Streams live exchange rates, adds the spread an administrator sets, and lets everyone see it at once" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /ratebus /usr/local/bin/ratebus
# The one place that is written to: databases of SQLite and keys. All else may be read-only.
RUN install -d -o 10001 -g 10001 -m 0700 /data
VOLUME ["/data"]
# The paths of the config, data/..., are relative. A config of your own is mounted at /plugins.toml.
WORKDIR /
USER 10001:10001
EXPOSE 3333 3334
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["ratebus", "health"]
ENTRYPOINT ["ratebus"]
