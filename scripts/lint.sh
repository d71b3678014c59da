#!/usr/bin/env bash
# The checks that need no guest: format, clippy, the types of the other architecture, docs, licences and sources of
# dependencies, advisories, shell scripts, the list of hazards, the README's workflow.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
cargo clippy --workspace --all-targets --locked -- -D warnings
scripts/aarch64.sh
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
scripts/hazards.sh
scripts/workflow.sh
if ! command -v cargo-deny >/dev/null; then
    echo "missing: cargo-deny" >&2
    echo "   what to do: cargo install --locked cargo-deny (about 6 minutes)" >&2
    exit 1
fi
cargo deny --locked --log-level error check bans licenses sources
# The database of advisories is fetched from the network: without it, say so and go on.
if ! report=$(cargo deny --locked --log-level error check advisories 2>&1); then
    grep -q 'failed to fetch' <<<"$report" || { echo "$report" >&2; exit 1; }
    echo "warning: the database of advisories could not be fetched: advisories were not checked" >&2
fi
