#!/usr/bin/env bash
# A Docker engine for the tests where none runs: Debian's, without network rules of its own, ended by its pid.
#   .ci/docker.sh start FOLDER    install it if need be, start it; its pid, socket and data lie in FOLDER
#   .ci/docker.sh stop FOLDER     end it, and take its data away
# `start` prints the DOCKER_HOST to use.
set -euo pipefail
folder=$(mkdir -p "$2" && cd "$2" && pwd)
export DOCKER_HOST=unix://$folder/docker.sock PATH=$PATH:/usr/sbin:/sbin

start() {
  if ! command -v dockerd >/dev/null; then
    apt-get update -qq
    # RUNLEVEL=1 keeps the package from starting an engine with its default settings.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io >"$folder/apt.log" 2>&1 ||
      { tail -20 "$folder/apt.log" >&2; return 1; }
  fi
  [ -e /sys/class/net/docker0 ] || touch "$folder/own-bridge"
  local driver pid
  for driver in overlay2 vfs; do
    # No packet filter, no forwarding, ports on 127.0.0.1 only: containers reach this machine and nothing beyond it.
    # Names are not looked up anywhere, and so fail at once.
    setsid dockerd --host "$DOCKER_HOST" --storage-driver "$driver" \
      --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/dockerd.pid" \
      --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --ip 127.0.0.1 --dns 127.0.0.1 \
      >"$folder/dockerd.log" 2>&1 </dev/null &
    pid=$!
    for _ in $(seq 240); do
      docker version >/dev/null 2>&1 && { echo "$DOCKER_HOST"; return 0; }
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.25
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  tail -20 "$folder/dockerd.log" >&2
  return 1
}

stop() {
  local pid
  pid=$(cat "$folder/dockerd.pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 80); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.25
  done
  [ ! -e "$folder/own-bridge" ] || ip link delete docker0 2>/dev/null || true
  rm -rf "$folder"
}

"$1"
