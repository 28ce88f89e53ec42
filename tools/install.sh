#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the packages of the groups given (tools/packages.txt) that are missing. Says nothing and needs no network when all are
# there. Works as root or through sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: tools/install.sh GROUP... (build, test, check, fresh, page, peers)" >&2; exit 2; }

wanted=()
for group in "$@"; do
  mapfile -t -O "${#wanted[@]}" wanted < <(awk -v group="$group" '$1 == group { print $2 }' tools/packages.txt)
done
[ ${#wanted[@]} -gt 0 ] || { echo "tools/install.sh: no packages in group(s) $*; tools/packages.txt lists them" >&2; exit 2; }
if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  echo "tools/install.sh: this is no Debian; make sure that these are installed: ${wanted[*]}" >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || { echo "tools/install.sh: become root or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quiet() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" > "$log" 2>&1 && return
  tail -n 20 "$log" >&2
  echo "tools/install.sh: '$*' failed" >&2
  exit 1
}
install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
# The lists may be absent (a bare image) or out of date.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" > "$log" 2>&1 && exit 0
quiet apt-get update -qq
quiet "${install[@]}"
