#!/usr/bin/env bash
# The checks that need no guest: format, clippy, docs, licences and advisories, shell scripts.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
if ! command -v cargo-deny >/dev/null; then
    echo "cargo-deny is not installed: cargo install --locked cargo-deny (about 6 minutes)" >&2
    exit 1
fi
cargo deny --locked --log-level error check
