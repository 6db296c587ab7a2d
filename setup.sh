#!/usr/bin/env bash
# The one set-up step of `make run` and `make test`: whatever is missing is
# built into .setup/ (ignored by git), installed when root, or named in one line
# to paste. A second call finds everything there and ends at once.
#
# usage: setup.sh run|test|bench|drill
set -euo pipefail
cd "$(dirname "$0")"
purpose=${1:?usage: setup.sh run|test|bench|drill}
bin=$PWD/.setup/bin
mkdir -p "$bin"

# debian COMMAND PACKAGE...: makes sure that COMMAND is there.
missing=()
debian() {
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("${@:2}")
}

debian node nodejs
debian npm npm
if [ "$purpose" = bench ]; then
	debian mosquitto mosquitto # the peer
fi
if [ "$purpose" = drill ]; then
	debian testssl testssl.sh
fi
if [ "$purpose" = test ] || [ "$purpose" = drill ]; then
	debian chromium-headless-shell chromium-headless-shell
	debian mosquitto mosquitto
	debian mosquitto_pub mosquitto-clients
	debian gcc gcc libc6-dev # the race detector links with it
	debian strace strace
	debian openssl openssl # an authority of somebody else's
	debian pdftotext poppler-utils # bulletins are read and looked at
	debian zbarimg zbar-tools # and the code on them
	if [ "$(id -u)" = 0 ]; then # power cuts and full disks are made on file systems of their own
		debian mkfs.ext4 e2fsprogs
		debian xfs_io xfsprogs
	fi
fi
if [ ${#missing[@]} -gt 0 ]; then
	install="apt-get install -y --no-install-recommends ${missing[*]}"
	if [ "$(id -u)" = 0 ]; then
		echo "setup: $install"
		{ apt-get update && DEBIAN_FRONTEND=noninteractive $install; } >.setup/apt.log 2>&1 ||
			{ tail -n 20 .setup/apt.log; echo "setup: that failed; the whole log is .setup/apt.log" >&2; exit 1; }
	elif [ "$purpose" != run ]; then
		echo "setup: please run this once, then again what you ran: sudo apt-get update && sudo $install" >&2
		exit 1
	else
		echo "setup: the pages come without live charts until you run: sudo apt-get update && sudo $install" >&2
	fi
fi

# InfluxDB 1.8 in pure Go, from Go's module proxy. Its go.mod is older than
# today's Go, which go install handles for it. -trimpath as everywhere, so that what
# is shared is compiled once.
if [ ! -x "$bin/influxd" ]; then
	echo "setup: building InfluxDB 1.8.10 (about a minute, once)"
	GOBIN=$bin GOFLAGS=-mod=mod go install -trimpath github.com/influxdata/influxdb/cmd/influxd@v1.8.10
fi

# The peer of the benchmark; never part of the product or its tests.
if [ "$purpose" = bench ] && [ ! -x "$bin/telegraf" ]; then
	echo "setup: building Telegraf 1.37.2 (a minute, once)"
	GOBIN=$bin GOFLAGS=-mod=mod CGO_ENABLED=0 go install -tags custom,inputs.mqtt_consumer,outputs.influxdb_v2,parsers.influx,parsers.json \
		-ldflags '-s -w' github.com/influxdata/telegraf/cmd/telegraf@v1.37.2
fi

# The browser code is bundled from dashboards/web by its lock file.
if command -v npm >/dev/null 2>&1 && [ -f dashboards/web/package-lock.json ]; then
	cd dashboards/web
	sum=$(find . -path ./node_modules -prune -o -path ./dist -prune -o -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -d' ' -f1)
	if [ "$(cat node_modules/.pantau-built 2>/dev/null || true)" != "$sum" ]; then
		echo "setup: bundling the browser code"
		npm ci --no-audit --no-fund --loglevel=error
		npm run --silent build
		echo "$sum" >node_modules/.pantau-built
	fi
fi
