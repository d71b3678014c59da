#!/usr/bin/env bash
# Checks the types of the whole workspace for aarch64, of which no machine is built yet: so nothing is linked, and no
# cross compiler is needed. Tests are left out: their guests are of x86.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    if ! command -v rustup >/dev/null || ! rustup target add "$target" >&2; then
        echo "missing: Rust's standard library for $target" >&2
        echo "   what to do: rustup target add $target (with rustup's Rust, and a network)" >&2
        exit 1
    fi
fi
# SQLite is C: this host's compiler makes an object of it that nothing is linked with.
export CC_aarch64_unknown_linux_gnu=${CC_aarch64_unknown_linux_gnu:-cc}
# Without incremental compilation: it would take 400 MB for a check that is seldom made.
export CARGO_INCREMENTAL=0
cargo clippy --workspace --locked --target "$target" -- -D warnings
