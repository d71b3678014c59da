//! Tests: a driver at the ring.
