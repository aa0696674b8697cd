"""The native hot loops. `modulus` is the face of all engines; `engines` chooses one; `bits`, `blocks`, `blake2b`,
`set_intersection` are loops over words; `simd` and `curve` emit code for vectors of eight."""
