# syntax=docker/dockerfile:1
# A small image that holds the program, the certificates of public authorities and nothing else: no shell, no package
# manager, an unprivileged account with a number.
#
#   docker build --tag riley-auth .
#   docker run --rm riley-auth --help
#
# The configuration is looked for in /etc/riley-auth/riley-auth.toml; any key may come from the environment instead
# (RILEY_AUTH__DATABASE__URL=...). The root file system may be read-only.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# The queries' descriptions are in the source (.sqlx), so no database is needed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --bin riley-auth \
    && install -D --mode=755 target/release/riley-auth /out/usr/bin/riley-auth \
    && install -d --mode=755 /out/etc/riley-auth \
    && install -d --mode=700 /state/riley-auth

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="riley-auth" \
      org.opencontainers.image.description="An OpenID Connect provider you own: people sign in upstream, your apps get tokens." \
      org.opencontainers.image.licenses="MIT"
# The program is root's, so that it cannot change itself; only the place for what a demo writes is its own.
COPY --from=build /out/ /
COPY --from=build --chown=65532:65532 /state/ /var/lib/
# 65532 is the base image's account "nonroot"; a number, so that an orchestrator sees that it is not root.
USER 65532:65532
# Inside a container loopback is nobody's; what is published is the host's decision.
ENV RILEY_AUTH__SERVER__HOST=0.0.0.0
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/riley-auth", "healthcheck"]
ENTRYPOINT ["/usr/bin/riley-auth"]
CMD ["serve"]
