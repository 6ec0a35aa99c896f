//! What only this backend does: several workers on one queue.
