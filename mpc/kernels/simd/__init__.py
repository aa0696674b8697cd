"""The engines `ifma` and `avx2`: arithmetic modulo a number in eight lanes, by LLVM. `engine` is the face."""
