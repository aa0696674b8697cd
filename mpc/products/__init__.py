"""Private fixed matrix times shared vector, two parties: `matrix_vector`, and `packed_over_rows` for tall ones."""
