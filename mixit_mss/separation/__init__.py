"""Stage 6: any song in, stems out, as a stream."""
