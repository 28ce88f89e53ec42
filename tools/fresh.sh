#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries the two commands of the README on a fresh machine: a debootstrapped Debian 12 folder, a clean clone of the committed tree,
# `make demo`, then `make test`. Needs root. The folder stays for a look and is made anew by the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "tools/fresh.sh: chroot needs root" >&2; exit 1; }
tools/install.sh fresh
root=$PWD/build/fresh
commands=("$@")
[ ${#commands[@]} -gt 0 ] || commands=("make demo" "make test")

leave() { for at in proc dev; do mountpoint -q "$root/$at" && umount -l "$root/$at"; done; return 0; }
trap leave EXIT
leave
rm -rf --one-file-system "$root"
mkdir -p "$root"
# The mirror and the configuration that this machine itself uses.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2> /dev/null |
  grep -oP '^(deb .*?|URIs: *)\K(https?|file):\S+' | head -n 1 || true)
[ -n "$mirror" ] || { echo "tools/fresh.sh: no package mirror in /etc/apt" >&2; exit 1; }
trust=()
[ -d /usr/share/keyrings ] && [ -n "$(ls /usr/share/keyrings/debian-archive-*.gpg 2> /dev/null)" ] || trust=(--no-check-gpg)
debootstrap --variant=minbase --include=make,git,ca-certificates "${trust[@]}" bookworm "$root" "$mirror" > build/fresh.log 2>&1 ||
  { tail -n 20 build/fresh.log >&2; exit 1; }
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/trusted.gpg.d \
  /usr/local/share/ca-certificates /etc/ssl/certs; do
  [ -e "$file" ] && { mkdir -p "$root$(dirname "$file")"; cp -rL "$file" "$root$(dirname "$file")/" 2> /dev/null || true; }
done
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
git clone -q --no-hardlinks . "$root/root/vibee"
for command in "${commands[@]}"; do
  start=$SECONDS
  # Only the proxy and package-index settings of this environment go in; no input, so that nothing may ask.
  mapfile -t passed < <(env | grep -E '^(https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY|PIP_(INDEX_URL|CERT|DEFAULT_TIMEOUT)|SSL_CERT_FILE)=')
  env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${passed[@]}" \
    chroot "$root" bash -c "cd /root/vibee && $command" < /dev/null || { echo "tools/fresh.sh: '$command' failed" >&2; exit 1; }
  echo "tools/fresh.sh: '$command' succeeded in $((SECONDS - start)) s"
done
