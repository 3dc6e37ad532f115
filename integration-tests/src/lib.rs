//! Promises kept by real processes on real stores.
