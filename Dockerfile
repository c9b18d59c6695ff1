FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin synckit-server

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/synckit --create-home synckit
COPY --from=build /src/target/release/synckit-server /usr/local/bin/synckit-server
USER synckit
WORKDIR /var/lib/synckit
EXPOSE 8080
# Authentication must be switched off by name until tokens are supported: see docs/configuration.md.
CMD ["synckit-server", "serve"]
