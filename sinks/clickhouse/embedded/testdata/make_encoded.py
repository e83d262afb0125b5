"""Makes encoded/rows.xz and encoded/rows.bz2, for which Go has no encoder: the numbers from 0 to 9999, one a line."""

import bz2
import lzma
import pathlib

rows = "".join(f"{n}\n" for n in range(10_000)).encode()
folder = pathlib.Path(__file__).parent / "encoded"
(folder / "rows.xz").write_bytes(lzma.compress(rows))
(folder / "rows.bz2").write_bytes(bz2.compress(rows))
