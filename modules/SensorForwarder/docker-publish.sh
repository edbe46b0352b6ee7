#!/bin/sh
# What the build stages of all Dockerfiles do: publish for one runtime identifier into /app, with a bill of materials, and make /data.
# usage: docker-publish.sh linux-x64|linux-arm64|linux-arm [Debug]
set -eu
rid=$1
configuration=${2:-Release}
cd "$(dirname "$0")"

install() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Native AOT needs a linker and a C library for the target. Cross-compiling is far quicker than emulating the SDK.
aot=true
case "$configuration-$rid-$(uname -m)" in
  Debug-* | *-linux-arm-*) aot=false ;;
  *-linux-arm64-x86_64) install clang lld llvm gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
  *-linux-x64-aarch64) install clang lld llvm gcc-x86-64-linux-gnu libc6-dev-amd64-cross ;;
  *) command -v clang >/dev/null || install clang lld zlib1g-dev ;;
esac

if [ $aot = true ]; then
  dotnet publish SensorForwarder.csproj -c "$configuration" -r "$rid" -p:CI=true -o /app
  rm -f /app/*.dbg
else
  dotnet publish SensorForwarder.csproj -c "$configuration" -r "$rid" -p:CI=true -p:PublishAot=false -p:UseAppHost=false \
    --self-contained false -o /app
fi
dotnet tool restore
dotnet tool run dotnet-CycloneDX SensorForwarder.csproj --exclude-dev --disable-package-restore -F Json -o /app -fn sbom.cdx.json \
  -st Application -sv "$(dotnet msbuild SensorForwarder.csproj -getProperty:Version)"

# Made here since the final image has no shell; it gets its owner when it is copied.
mkdir -p /data
