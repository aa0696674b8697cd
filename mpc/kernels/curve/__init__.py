"""The curve of ristretto255 in eight lanes, emitted through LLVM. `batches` is the face."""
