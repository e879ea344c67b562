//! One process full of connections.
