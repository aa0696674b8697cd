"""The engines `ifma` and `avx2`: arithmetic modulo a number in eight lanes, emitted through LLVM. `engine` is the face."""
