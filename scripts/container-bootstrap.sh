#!/bin/sh
# Makes sure that a container engine answers and that the base images of our Dockerfiles are there.
#
# Where images can be pulled this does nothing: the engine pulls what it needs. On a machine that reaches Debian's packages
# but no image registry, stand-ins are made under the same tags: a Debian base with debootstrap from the mirror this host
# uses, Node from the npm package `node`, and the services from Debian's packages. So the same Dockerfiles serve everyone.
#
#   scripts/container-bootstrap.sh [--install] [image...]
#
#   --install   install docker.io, debootstrap and docker-compose with apt-get when they are missing (needs root)
#   image...    only these (default: the two base images of our Dockerfile)
set -eu
cd "$(dirname "$0")/.."

base_image=debian:bookworm-slim
node_image=node:24-bookworm-slim
suite=bookworm

install=no
updated=no
if [ "${1:-}" = --install ]; then install=yes; shift; fi
[ $# -gt 0 ] || set -- "$base_image" "$node_image"

say() { echo "container-bootstrap: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

ensure_package() { # program package
  have "$1" && return
  [ "$install" = yes ] || fail "$1 is missing: install the package $2, or run with --install"
  if [ "$updated" = no ]; then apt-get update -q >/dev/null; updated=yes; fi
  say "installing $2"
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$2" >/dev/null
}

ensure_engine() {
  if docker info >/dev/null 2>&1; then return; fi
  if [ "$install" = yes ] && ! have dockerd; then
    ensure_package iptables iptables
    ensure_package dockerd docker.io
  fi
  have docker || fail "no container engine: install docker.io, or run with --install"
  have dockerd && [ "$(id -u)" = 0 ] || fail "the container engine does not answer: start it, or name it in DOCKER_HOST"
  say "starting dockerd (its log: /tmp/keelson-dockerd.log)"
  nohup dockerd >/tmp/keelson-dockerd.log 2>&1 &
  tries=0
  until docker info >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || fail "dockerd did not come up: see /tmp/keelson-dockerd.log"
    sleep 0.5
  done
}

present() { docker image inspect "$1" >/dev/null 2>&1; }

# One failed pull is enough to know: the registry is then not asked again for the others.
pullable=unknown
pull() {
  [ "$pullable" != no ] || return 1
  if timeout "${KEELSON_PULL_TIMEOUT:-30}" docker pull -q "$1" >/dev/null 2>&1; then pullable=yes; return 0; fi
  pullable=no
  return 1
}

make_base() {
  ensure_package debootstrap debootstrap
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root"
  mirror=$(sed -nE 's/^URIs: *(\S+).*/\1/p; s/^deb +(\[[^]]*\] +)?(\S+).*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || fail "no Debian mirror in this host's apt sources"
  root=$(mktemp -d /var/tmp/keelson-base.XXXXXX)
  say "making a stand-in for $base_image with debootstrap"
  nice debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
    fail "debootstrap failed: see $root.log"
  # What Debian's own slim image leaves out.
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/doc/* "$root"/usr/share/locale/* "$root"/usr/share/man/* "$root"/usr/share/info/*
  printf 'path-exclude /usr/share/%s/*\n' doc man locale info >"$root/etc/dpkg/dpkg.cfg.d/slim"
  # The host's way to its packages: mirror, settings, and the certificates that it trusts.
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    if [ -f "$file" ]; then rm -f "$root/etc/apt/sources.list"; cp "$file" "$root$file"; break; fi
  done
  cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$root" --one-file-system -c . | docker import -c 'CMD ["/bin/bash"]' - "$base_image" >/dev/null
  rm -rf "$root" "$root.log"
}

make_node() {
  present "$base_image" || make_base
  [ -x node_modules/node/bin/node ] || fail "run npm ci first: the stand-in for $node_image takes Node from it"
  say "making a stand-in for $node_image"
  context=$(mktemp -d /var/tmp/keelson-node.XXXXXX)
  cp node_modules/node/bin/node "$context/node"
  program=$(readlink -f "$(command -v npm)") # …/npm/bin/npm-cli.js, whichever Node runs it
  cp -rL "${program%/bin/*}" "$context/npm"
  npm config get registry >"$context/registry"
  DOCKER_BUILDKIT=0 docker build -q -t "$node_image" -f scripts/containers/node.Dockerfile "$context" >/dev/null
  rm -rf "$context"
}

make_service() { # image name
  say "making a stand-in for $1"
  DOCKER_BUILDKIT=0 nice docker build -q -t "$1" -f "scripts/containers/$2.Dockerfile" scripts/containers >/dev/null
}

ensure_engine
if [ "$install" = yes ] && ! docker compose version >/dev/null 2>&1; then
  ensure_package docker-compose docker-compose
fi
making=
for image in "$@"; do
  present "$image" || pull "$image" || case "$image" in
    "$base_image") make_base ;;
    "$node_image") make_node ;;
    *)
      name=${image%%:*}
      [ -f "scripts/containers/$name.Dockerfile" ] || fail "$image cannot be pulled and has no stand-in"
      present "$base_image" || make_base
      # Together: most of their time goes by in downloads.
      make_service "$image" "$name" &
      making="$making $!"
      ;;
  esac
done
for pid in $making; do wait "$pid" || fail "a stand-in could not be made: its build is above"; done
