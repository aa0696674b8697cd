"""Code for this processor: LLVM text becomes a `library`, Python becomes `loops`; `code_cache` keeps both on disk."""
