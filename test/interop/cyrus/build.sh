#!/usr/bin/env bash
# Builds Qpid Proton with Cyrus SASL, which Debian's packages leave out, from Debian's own source of the same version.
# The library takes the place of the packaged one by LD_LIBRARY_PATH; nothing is installed.
#
#   build.sh [FOLDER]     default: lib beside this script
#
# Takes half a minute. Needs g++, cmake, libsasl2-dev, libssl-dev, and python3-qpid-proton to try it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-$here/lib}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The sources that the machine has its packages from, with a state of its own: the machine's lists stay as they are.
mkdir -p "$work/sources" "$work/state/lists/partial" "$work/cache/archives/partial" "$work/build"
for file in /etc/apt/sources.list.d/*.sources; do
  [ -e "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/sources/$(basename "$file")"
done
[ -s /etc/apt/sources.list ] && sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$work/sources/machine.list"
apt() {
  apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" \
    -o Dir::State::Lists="$work/state/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
apt update
# Of the source package only upstream's archive is needed; Debian's patches may be gone from the mirror.
(cd "$work" && apt source --download-only qpid-proton) || true
tar -xf "$work"/qpid-proton_*.orig.tar.* -C "$work"

cmake -S "$work"/qpid-proton-*/ -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DSASL_IMPL=cyrus -DBUILD_BINDINGS= \
  -DBUILD_TESTING=OFF -DBUILD_EXAMPLES=OFF -DBUILD_TOOLS=OFF -DENABLE_JSONCPP=OFF -DENABLE_OPENTELEMETRYCPP=OFF \
  -DENABLE_WARNING_ERROR=OFF >"$work/log"
make -C "$work/build" -j2 >>"$work/log" 2>&1 || { tail -n 20 "$work/log"; exit 1; }
mkdir -p "$into"
cp -a "$work"/build/c/libqpid-proton*.so* "$into/"
LD_LIBRARY_PATH=$into /usr/bin/python3 -c 'import sys; from proton import SASL; sys.exit(not SASL.extended())'
echo "Proton with Cyrus SASL is in $into"
