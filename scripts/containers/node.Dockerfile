# Stand-in for node:24-bookworm-slim: Node from the npm package, npm from the host. The context is made by
# container-bootstrap.sh.
FROM debian:bookworm-slim
COPY node /usr/local/bin/node
COPY npm /usr/local/lib/node_modules/npm
COPY registry /tmp/registry
# The host's trusted certificates came with the base; npm has to be told.
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && \
    ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx && \
    npm config set --global registry "$(cat /tmp/registry)" && rm /tmp/registry && \
    groupadd --gid 1000 node && useradd --uid 1000 --gid node --shell /bin/bash --create-home node
CMD ["node"]
