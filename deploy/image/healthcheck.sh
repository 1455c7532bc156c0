#!/bin/bash
# The image's HEALTHCHECK. A plain-HTTP endpoint is asked by the shell alone, since starting Node for every check of every
# container costs more than the parts themselves; TLS needs Node.
url=${KEELSON_HEALTH_URL:-https://127.0.0.1:6443/ping}
if [[ $url =~ ^http://([^:/]+):([0-9]+)(/.*)$ ]]; then
  exec 3<>"/dev/tcp/${BASH_REMATCH[1]}/${BASH_REMATCH[2]}" || exit 1
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "${BASH_REMATCH[3]}" >&3
  read -r -t 2 _ status _ <&3
  [ "$status" = 200 ]
  exit
fi
exec node "$(dirname "$0")/healthcheck.js"
