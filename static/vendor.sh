#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copies what the pages use of node_modules/ to vendor/, with the licences. Run after `npm ci --prefix static`.
set -eu
cd "$(dirname "$0")"
from=node_modules
to=vendor.new
rm -rf "$to"
mkdir -p "$to"
cp "$from/bootstrap/dist/css/bootstrap.min.css" "$from/bootstrap/dist/js/bootstrap.bundle.min.js" "$to/"
cp "$from/hls.js/dist/hls.light.min.mjs" "$from/hls.js/dist/hls.min.mjs" "$from/hls.js/dist/hls.worker.js" "$to/"
cp "$from/uplot/dist/uPlot.esm.js" "$from/uplot/dist/uPlot.min.css" "$to/"
cp "$from/tus-js-client/dist/tus.min.js" "$to/"
cp "$from/qr/index.js" "$to/qr.js"
# Maps are not shipped, so the files must not name them.
for f in "$to"/*.js "$to"/*.mjs "$to"/*.css; do
    sed -i -e 's|^//# sourceMappingURL=.*$||' -e 's|/\*# sourceMappingURL=[^*]*\*/||' "$f"
done
# Module files get a name every static server knows the type of.
mv "$to/hls.light.min.mjs" "$to/hls.light.min.js"
mv "$to/hls.min.mjs" "$to/hls.min.js"
cp "$from/bootstrap/LICENSE" "$to/LICENSE.bootstrap"
cp "$from/hls.js/LICENSE" "$to/LICENSE.hls.js"
cp "$from/uplot/LICENSE" "$to/LICENSE.uplot"
cp "$from/qr/LICENSE" "$to/LICENSE.qr"
cp "$from/tus-js-client/LICENSE" "$to/LICENSE.tus-js-client"
# What its bundle contains.
cp "$from/js-base64/LICENSE.md" "$to/LICENSE.js-base64"
for p in url-parse requires-port querystringify; do cp "$from/$p/LICENSE" "$to/LICENSE.$p"; done
cp "$from/@popperjs/core/LICENSE.md" "$to/LICENSE.popper"
rm -rf vendor
mv "$to" vendor
